import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import {
  buildInfo,
  createLogger,
  ensureDirectory,
  killOrphans,
  lockDirectory,
  OwnedStack,
  type Logger,
} from '@sendense/runtime';
import { startTunnelClient, type TunnelClientState } from '@sendense/tunnel';
import { nodeSocketPath, ownerMark, type NodeConfig } from './config.js';
import { readEnrolment } from './enrolment/enrolment.js';
import { JobRegistry } from './jobs/job-registry.js';
import { backupRunner } from './jobs/supervise.js';
import { NodeChecks } from './preflight/node-checks.js';
import type { RpcContext } from './rpc/index.js';
import { startServer } from './server.js';
import { checkSocketPath, removeStaleSocket } from './unix-socket.js';

/** A running node: its gRPC server, its jobs and its tunnel. Disposing it cancels the jobs and ends everything. */
export interface Node extends AsyncDisposable {
  readonly name: string;
  /** The gRPC unix socket. */
  readonly socketPath: string;
  readonly tunnelState: TunnelClientState;
  /** Takes no new jobs; settles when those that run have ended and the hub has what it needs of them. */
  drain(): Promise<void>;
  /** The ids of the jobs that run. */
  runningJobs(): readonly string[];
}

/** For each step. Long enough for the jobs to remove their snapshots; the program has a limit for all of it. */
const RELEASE_MS = 80_000;

/**
 * @throws `invalid_config` when the node is not enrolled · `data_directory_in_use` · `permission_denied` when others can
 *   read the node's key · `conflict` when another process answers on its socket
 */
export async function createNode(
  config: NodeConfig,
  log: Logger = createLogger({ service: 'sendense-node', level: config.logLevel }),
): Promise<Node> {
  await using starting = new OwnedStack(log, RELEASE_MS);
  const socketPath = nodeSocketPath(config.runtimeDirectory);
  checkSocketPath(socketPath, 'SENDENSE_RUNTIME_DIR');
  await ensureDirectory(config.dataDirectory, 0o700);
  await ensureDirectory(config.runtimeDirectory, 0o700);
  const holder = { service: 'sendense-node', version: buildInfo.version };
  starting.use('lock', lockDirectory(config.dataDirectory, holder));
  const enrolment = await readEnrolment(config.dataDirectory);
  const owner = ownerMark(config.dataDirectory);
  await killOrphans(owner, log);
  await removeStaleSocket(socketPath);
  await removeLeftovers(config);
  const runner = backupRunner({ ...config, log });
  const jobs = new JobRegistry(enrolment.nodeName, runner);
  const checks = new NodeChecks(config);
  const context: RpcContext = { config, enrolment, jobs, checks, owner, startedAt: new Date(), log };
  const server = starting.use('gRPC server', await startServer(context, socketPath));
  const { hub, nodeName, privateKeyPem } = enrolment;
  const tunnel = startTunnelClient({ hub, nodeName, privateKeyPem, apiSocketPath: socketPath, log });
  starting.use('tunnel', tunnel);
  // Before the tunnel goes, because the last events of the jobs travel through it.
  starting.defer('gRPC calls', () => server[Symbol.asyncDispose]());
  starting.use('jobs', jobs);
  log.info({ nodeName, hub: `${hub.host}:${hub.port}`, ...buildInfo }, 'node started');
  const owned = starting.move();
  return {
    name: nodeName,
    socketPath,
    get tunnelState() {
      return tunnel.state;
    },
    drain: () => jobs.drain(),
    runningJobs: () => jobs.running().map(({ id }) => id),
    [Symbol.asyncDispose]: () => owned[Symbol.asyncDispose](),
  };
}

/** Hashes and sockets of jobs of an earlier life: nobody can ask for them any more. */
async function removeLeftovers({ dataDirectory, runtimeDirectory }: NodeConfig): Promise<void> {
  await rm(join(dataDirectory, 'jobs'), { recursive: true, force: true });
  for (const name of await readdir(runtimeDirectory)) {
    if (name.startsWith('job-')) await rm(join(runtimeDirectory, name), { recursive: true, force: true });
  }
}
