import type { SweepSnapshotsRequest, SweepSnapshotsResponse, SweptSnapshot } from '@sendense/contracts';
import { connectVSphere } from '@sendense/vsphere';
import { sweepStaleSnapshots, type SweptSnapshot as Swept } from '../snapshots/sweep.js';
import { connectOptions } from './connect-options.js';
import type { RpcContext } from './context.js';
import { moref, vcenter } from './validation.js';

export async function sweepSnapshots(
  request: SweepSnapshotsRequest,
  { enrolment, jobs, log }: RpcContext,
  signal: AbortSignal,
): Promise<SweepSnapshotsResponse> {
  const credentials = vcenter(request.vcenter);
  const vmMoref = request.vmMoref === '' ? undefined : moref('vm_moref', request.vmMoref);
  await using session = await connectVSphere(connectOptions(credentials, log, signal));
  const rule = {
    nodeName: enrolment.nodeName,
    runningJobs: () => jobs.running().map(({ id }) => id),
    now: new Date(),
  };
  return sweepResponse(await sweepStaleSnapshots(session, vmMoref, rule, log));
}

/** Also what `sendense-node sweep` prints. */
export function sweepResponse(swept: readonly Swept[]): SweepSnapshotsResponse {
  return {
    removed: swept.filter(({ error }) => !error).map(toMessage),
    failed: swept.filter(({ error }) => error).map(toMessage),
  };
}

function toMessage({ vmMoref, snapshot, error }: Swept): SweptSnapshot {
  return { vmMoref, snapshotMoref: snapshot.moref, name: snapshot.name, error: error?.message ?? '' };
}
