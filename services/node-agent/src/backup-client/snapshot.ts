import { SendenseError, toSendenseError } from '@sendense/core';
import { delay } from '@sendense/runtime';
import type { SnapshotDisk, VSphereSession } from '@sendense/vsphere';
import { leftBehind } from '../snapshots/left-behind.js';
import { snapshotDescription, snapshotName } from '../snapshots/ownership.js';
import { leavesNoSnapshot, removeJobSnapshot } from '../snapshots/remove-job-snapshot.js';
import type { JobPorts } from './job.js';
import type { JobSpec } from './spec.js';

/** Consolidating what a busy guest wrote meanwhile takes long; giving up earlier would only leave the snapshot there. */
export const REMOVE_DEADLINE_MS = 4 * 60 * 60_000;
/** How long a snapshot is waited for whose creation was not answered. */
const TAKE_BACK_MS = 5000;
const REMOVE_TRIES = 3;
const REMOVE_PAUSE_MS = 1000;

export interface SnapshotContext {
  readonly vcenter: VSphereSession;
  readonly spec: JobSpec;
  readonly foreignSnapshots: number;
  readonly ports: JobPorts;
}

/** The one snapshot of a backup: every disk is read from this instant. */
export interface BackupSnapshot {
  readonly moref: string;
  /** From the snapshot's own configuration: file names and changeIds of that instant, not of now. */
  readonly disks: readonly SnapshotDisk[];
}

/**
 * Takes ONE snapshot of all disks, works with it, and removes it whatever happened, waiting until it is gone.
 *
 * The removal does not depend on the run's signal. When it fails after good work the result stands, and a warning
 * `snapshot_remove_failed` asks for it to be tried again.
 */
export async function withSnapshot<T>(
  context: SnapshotContext,
  signal: AbortSignal,
  work: (snapshot: BackupSnapshot) => Promise<T>,
): Promise<T> {
  const { vcenter, ports } = context;
  const created = await create(context, signal);
  try {
    const disks = await vcenter.snapshotDisks(created.moref);
    announce(context, created, disks);
    await ports.enterPhase('copying');
    return await work({ moref: created.moref, disks });
  } finally {
    await ports.enterPhase('removing_snapshot');
    await release(context, created.moref);
  }
}

type Created = Awaited<ReturnType<VSphereSession['createSnapshot']>>;

async function create(context: SnapshotContext, signal: AbortSignal): Promise<Created> {
  const { vcenter, spec } = context;
  const name = snapshotName(spec.jobId);
  const description = snapshotDescription(spec.jobId, spec.nodeName);
  try {
    return await vcenter.createSnapshot(spec.vm.moref, { name, description, quiesce: spec.quiesce }, signal);
  } catch (error) {
    await takeBack(context, toSendenseError(error));
    throw error;
  }
}

/** When it was the answer that was lost, the snapshot is there all the same, or will be in a moment. */
async function takeBack({ vcenter, spec, ports }: SnapshotContext, error: SendenseError): Promise<void> {
  if (leavesNoSnapshot(error)) return;
  const { failure } = await removeJobSnapshot({
    jobId: spec.jobId,
    vmMoref: spec.vm.moref,
    mayAppear: true,
    patienceMs: TAKE_BACK_MS,
    withSession: (work) => work(vcenter),
    log: ports.log,
  });
  if (!failure) return;
  const { code, message } = failure;
  ports.log.warn({ code, error: message }, 'cannot tell whether a snapshot was left behind');
  ports.emit(leftBehind(spec, failure));
}

function announce(
  { spec, foreignSnapshots, ports }: SnapshotContext,
  created: Created,
  disks: readonly SnapshotDisk[],
): void {
  const wanted = new Set(spec.disks.map(({ key }) => key));
  ports.emit({
    $case: 'snapshotCreated',
    value: {
      moref: created.moref,
      name: snapshotName(spec.jobId),
      quiesced: created.quiesced,
      quiesceNote: created.quiesceNote ?? '',
      changeIds: disks
        .filter(({ key }) => wanted.has(key))
        .map(({ key, changeId }) => ({ diskKey: key, changeId: changeId ?? '' })),
      foreignSnapshots,
    },
  });
}

async function release(context: SnapshotContext, moref: string): Promise<void> {
  const { spec, ports } = context;
  try {
    await remove(context, moref);
  } catch (thrown) {
    const error = toSendenseError(thrown);
    ports.log.warn({ snapshot: moref, code: error.code, error: error.message }, 'snapshot not removed');
    ports.emit(leftBehind(spec, error, moref));
    return;
  }
  ports.emit({ $case: 'snapshotRemoved', value: { moref, consolidated: await consolidate(context) } });
}

async function remove({ vcenter, ports }: SnapshotContext, moref: string): Promise<void> {
  const deadline = AbortSignal.timeout(REMOVE_DEADLINE_MS);
  for (let attempt = 1; ; attempt++) {
    try {
      await vcenter.removeSnapshot(moref, deadline);
      return;
    } catch (thrown) {
      const error = toSendenseError(thrown);
      if (attempt === REMOVE_TRIES || deadline.aborted || error.code === 'vcenter_task_timeout') throw error;
      ports.log.warn(
        { snapshot: moref, attempt, code: error.code, error: error.message },
        'removing the snapshot again',
      );
      await delay(REMOVE_PAUSE_MS * attempt);
    }
  }
}

async function consolidate({ vcenter, spec, ports }: SnapshotContext): Promise<boolean> {
  try {
    return await vcenter.consolidateIfNeeded(spec.vm.moref, AbortSignal.timeout(REMOVE_DEADLINE_MS));
  } catch (thrown) {
    const { message, context } = toSendenseError(thrown);
    const value = {
      code: 'consolidation_failed',
      message: `the disks need consolidation: ${message}`,
      context,
    };
    ports.emit({ $case: 'warning', value });
    return false;
  }
}

/** @throws `disk_set_changed` when the snapshot does not hold the disk */
export function snapshotDisk(snapshot: BackupSnapshot, diskKey: number): SnapshotDisk {
  const found = snapshot.disks.find(({ key }) => key === diskKey);
  if (found) return found;
  throw new SendenseError(
    'disk_set_changed',
    `the snapshot does not hold disk ${diskKey}: start the backup again`,
    {
      context: { disk_key: diskKey, snapshot_moref: snapshot.moref },
      retryable: true,
    },
  );
}
