import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { SendenseError } from '@sendense/core';
import type { NbdTarget } from '@sendense/nbd';
import { createLogger, OwnedStack, type Logger } from '@sendense/runtime';
import { connectVSphere, type VirtualMachine } from '@sendense/vsphere';
import { readCredentials, type VmwareOptions } from '../commands/vmware-options.js';
import { readVddkConfig } from '../config.js';
import { EventLog } from '../jobs/event-log.js';
import { BY_HAND } from '../snapshots/ownership.js';
import { createView } from './by-hand-view.js';
import { runJob } from './job.js';
import type { DiskSpec, JobSpec, VCenterCredentials } from './spec.js';
import { stopOnSignals } from './stop-on-signals.js';

export interface ByHandOptions extends VmwareOptions {
  readonly vmwarePath: string;
  readonly nbdTargets: readonly NbdTarget[];
  readonly jobId: string;
  readonly previousChangeIds?: ReadonlyMap<number, string>;
  readonly hashesDir?: string;
  readonly quiesce?: boolean;
  readonly enableChangeTracking?: boolean;
  readonly connections: number;
  readonly parallelDisks: number;
  readonly rateLimit: number;
  readonly json?: boolean;
  readonly verbose?: boolean;
}

/** One backup straight to NBD targets, shown on the terminal. */
export async function backUpByHand(options: ByHandOptions, env: NodeJS.ProcessEnv): Promise<void> {
  const vddk = readVddkConfig(env);
  const vcenter = await readCredentials(options);
  // What matters is an event; the log is for whoever looks for the reason.
  const level = options.verbose ? 'debug' : 'silent';
  const log = createLogger({ service: 'sendense-backup-client', level });
  using stop = stopOnSignals();
  await using owned = new OwnedStack(log);
  const vm = await findVmByPath(vcenter, options.vmwarePath, log, stop.signal);
  const socketDirectory = await mkdtemp(join(tmpdir(), 'sendense-job-'));
  owned.defer('folder of sockets', () => rm(socketDirectory, { recursive: true, force: true }));
  const hashesDirectory = options.hashesDir === undefined ? undefined : resolve(options.hashesDir);
  if (hashesDirectory !== undefined) await mkdir(hashesDirectory, { recursive: true });
  const spec: JobSpec = {
    jobId: options.jobId,
    nodeName: BY_HAND,
    vcenter,
    vm,
    disks: options.nbdTargets.map((target) => diskSpec(target, vm, options)),
    everyDisk: false,
    quiesce: options.quiesce ?? false,
    enableChangeTracking: options.enableChangeTracking ?? false,
    parallelDisks: options.parallelDisks,
    rateLimitBytesPerSecond: options.rateLimit,
    runningJobs: [],
    delivery: { kind: 'direct' },
    ...(hashesDirectory === undefined ? {} : { hashesDirectory }),
    socketDirectory,
    vddk,
    owner: `by-hand:${process.pid}`,
  };
  using view = createView(options.json ?? false);
  warnAboutOthers(spec, vm);
  const events = new EventLog();
  const ports = {
    log,
    enterPhase: () => Promise.resolve(),
    emit: (event: Parameters<EventLog['append']>[0]) => view.show(events.append(event)),
  };
  await runJob(spec, ports, stop.signal);
  if (events.events.at(-1)?.event?.$case !== 'finished') process.exitCode = 1;
}

async function findVmByPath(
  vcenter: VCenterCredentials,
  inventoryPath: string,
  log: Logger,
  signal: AbortSignal,
): Promise<VirtualMachine> {
  await using session = await connectVSphere({ ...vcenter, log, signal });
  const found = (await session.listVirtualMachines({ inventoryPath })).at(0);
  if (found) return found;
  throw new SendenseError(
    'vm_not_found',
    `${vcenter.endpoint} has no VM at ${inventoryPath}: the path is DATACENTER/vm/FOLDER/NAME, a slash inside a name is %2f`,
    { context: { path: inventoryPath } },
  );
}

/** @throws `disk_set_changed` when the VM has no such disk */
function diskSpec(target: NbdTarget, vm: VirtualMachine, options: ByHandOptions): DiskSpec {
  const { diskKey: key, address, exportName } = target;
  const disk = vm.disks.find((candidate) => candidate.key === key);
  if (!disk) {
    const keys = vm.disks.map((candidate) => `${candidate.key} (${candidate.label})`).join(', ') || 'none';
    throw new SendenseError('invalid_argument', `${options.vmwarePath} has no disk ${key}; it has ${keys}`);
  }
  const previousChangeId = options.previousChangeIds?.get(key);
  return {
    key,
    backingUuid: disk.backingUuid,
    capacityBytes: disk.capacityBytes,
    ...(previousChangeId === undefined ? {} : { previousChangeId }),
    // A target of changes lies on the previous image; that of a full is empty.
    target: {
      address,
      exportName,
      hasBacking: previousChangeId !== undefined,
      connections: options.connections,
    },
  };
}

function warnAboutOthers(spec: JobSpec, vm: VirtualMachine): void {
  for (const { key, label } of vm.disks) {
    if (!spec.disks.some((disk) => disk.key === key))
      process.stderr.write(`warning: disk ${key} (${label}) has no target and is not copied\n`);
  }
}
