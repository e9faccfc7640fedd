import { credentials, Metadata } from '@grpc/grpc-js';
import { fromServiceError, NodeServiceClient, type SweepSnapshotsResponse } from '@sendense/contracts';
import { buildInfo, createLogger, killOrphans, lockDirectory } from '@sendense/runtime';
import { connectVSphere } from '@sendense/vsphere';
import type { VCenterCredentials } from '../backup-client/spec.js';
import { nodeSocketPath, ownerMark, readNodeConfig, type NodeConfig } from '../config.js';
import { readIdentity } from '../enrolment/enrolment.js';
import { sweepResponse } from '../rpc/sweep-snapshots.js';
import { sweepStaleSnapshots } from '../snapshots/sweep.js';
import { isAnswered } from '../unix-socket.js';
import { readCredentials, type VmwareOptions } from './vmware-options.js';

export interface SweepCommandOptions extends VmwareOptions {
  readonly vm?: string;
  readonly json?: boolean;
}

/** Snapshots are merged one after another, and the large ones take long. */
const SWEEP_LIMIT_MS = 4 * 60 * 60_000;

/**
 * Removes what dead backups left behind. A running node is asked to do it, because it knows which jobs run; without one,
 * none do, and its orphaned processes are ended too.
 */
export async function sweepByCommand(options: SweepCommandOptions, env: NodeJS.ProcessEnv): Promise<void> {
  const config = readNodeConfig(env);
  const vcenter = await readCredentials(options);
  const socketPath = nodeSocketPath(config.runtimeDirectory);
  const vmMoref = options.vm ?? '';
  const swept = (await isAnswered(socketPath))
    ? await askNode(socketPath, vcenter, vmMoref)
    : await sweepAlone(config, vcenter, vmMoref);
  process.stdout.write(options.json ? `${JSON.stringify(swept, undefined, 2)}\n` : report(swept));
  if (swept.failed.length > 0) process.exitCode = 1;
}

async function askNode(
  socketPath: string,
  vcenter: VCenterCredentials,
  vmMoref: string,
): Promise<SweepSnapshotsResponse> {
  const client = new NodeServiceClient(`unix:${socketPath}`, credentials.createInsecure());
  try {
    return await new Promise((resolve, reject) => {
      const deadline = Date.now() + SWEEP_LIMIT_MS;
      client.sweepSnapshots({ vcenter, vmMoref }, new Metadata(), { deadline }, (error, response) => {
        if (error) reject(fromServiceError(error, `the running node, asked at ${socketPath} to sweep`));
        else resolve(response);
      });
    });
  } finally {
    client.close();
  }
}

async function sweepAlone(
  config: NodeConfig,
  vcenter: VCenterCredentials,
  vmMoref: string,
): Promise<SweepSnapshotsResponse> {
  const log = createLogger({ service: 'sendense-node', level: config.logLevel });
  const { nodeName } = await readIdentity(config.dataDirectory);
  using _lock = lockDirectory(config.dataDirectory, {
    service: 'sendense-node sweep',
    version: buildInfo.version,
  });
  await killOrphans(ownerMark(config.dataDirectory), log);
  await using session = await connectVSphere({ ...vcenter, log });
  const rule = { nodeName, runningJobs: () => [], now: new Date() };
  return sweepResponse(await sweepStaleSnapshots(session, vmMoref || undefined, rule, log));
}

function report({ removed, failed }: SweepSnapshotsResponse): string {
  const lines = [
    ...removed.map(({ name, vmMoref }) => `removed ${name} of ${vmMoref}`),
    ...failed.map(({ name, vmMoref, error }) => `NOT removed ${name} of ${vmMoref}: ${error}`),
    `${removed.length} removed, ${failed.length} failed`,
  ];
  return `${lines.join('\n')}\n`;
}
