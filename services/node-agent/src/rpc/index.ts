import type { NodeServiceServer } from '@sendense/contracts';
import { cancelJob } from './cancel-job.js';
import { checkVCenter } from './check-vcenter.js';
import type { RpcContext } from './context.js';
import { enableChangeTracking } from './enable-change-tracking.js';
import { forgetJob } from './forget-job.js';
import { getNode } from './get-node.js';
import { serverStream, unary } from './handlers.js';
import { listJobs } from './list-jobs.js';
import { listVirtualMachines } from './list-virtual-machines.js';
import { readBlockHashes } from './read-block-hashes.js';
import { runBackup } from './run-backup.js';
import { sweepSnapshots } from './sweep-snapshots.js';
import { watchJob } from './watch-job.js';

export type { RpcContext } from './context.js';

/** Every call of `sendense.node.v1.NodeService`, a file each. */
export function nodeService(context: RpcContext): NodeServiceServer {
  const { log } = context;
  return {
    getNode: unary(log, () => getNode(context)),
    checkVCenter: unary(log, (request, signal) => checkVCenter(request, context, signal)),
    listVirtualMachines: unary(log, (request, signal) => listVirtualMachines(request, context, signal)),
    enableChangeTracking: unary(log, (request, signal) => enableChangeTracking(request, context, signal)),
    runBackup: serverStream(log, (request, signal) => runBackup(request, context, signal)),
    watchJob: serverStream(log, (request, signal) => watchJob(request, context, signal)),
    cancelJob: unary(log, (request) => cancelJob(request, context)),
    readBlockHashes: serverStream(log, (request, signal) => readBlockHashes(request, context, signal)),
    forgetJob: unary(log, (request) => forgetJob(request, context)),
    listJobs: unary(log, () => listJobs(context)),
    sweepSnapshots: unary(log, (request, signal) => sweepSnapshots(request, context, signal)),
  };
}
