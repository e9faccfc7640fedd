import { fromErrorDetail, type JobEvent } from '@sendense/contracts';
import { safeOffset, SendenseError } from '@sendense/core';
import { foundTracking } from '../vcenters/change-tracking.js';
import type { Run } from './run-state.js';
import type { Targets } from './targets.js';

/** What the node told about one disk. */
export interface DiskOutcome {
  changeId: string | undefined;
  /** `changed_areas`, `allocated_areas`, `block_status`, `whole_disk` */
  extentSource: string;
  bytesRead: number;
  bytesWritten: number;
  bytesZeroed: number;
  copied: boolean;
  /** Why it was read in full although an incremental was planned; its target was written as if it had no backing file. */
  full: { readonly reason: string; readonly detail: string } | undefined;
  /** Blocks that were looked at although changed block tracking calls them unchanged; the hash of zeros is undefined. */
  audited: readonly { readonly block: number; readonly hash: Buffer | undefined }[];
}

/** What the node told about the job, gathered event by event. */
export class NodeOutcome {
  /** The last event has come: nothing of the job runs there any more. */
  ended = false;
  /** The instant that the backup shows. */
  takenAt: Date | undefined;
  snapshot: { moref: string; name: string; quiesced: boolean; quiesceNote: string } | undefined;
  changeTracking = 'not_requested';
  foreignSnapshots = 0;
  /** Why the node could not remove the snapshot; the backup is good all the same. */
  snapshotLeft: string | undefined;
  readonly disks = new Map<number, DiskOutcome>();

  disk(diskKey: number): DiskOutcome {
    const known = this.disks.get(diskKey);
    if (known) return known;
    const disk: DiskOutcome = {
      changeId: undefined,
      extentSource: '',
      bytesRead: 0,
      bytesWritten: 0,
      bytesZeroed: 0,
      copied: false,
      full: undefined,
      audited: [],
    };
    this.disks.set(diskKey, disk);
    return disk;
  }
}

const CHANGE_TRACKING_OFF: Readonly<Record<string, string>> = {
  snapshots_exist:
    'changed block tracking was not enabled because the VM carries a snapshot of somebody else: remove that one to make incrementals possible',
  not_supported:
    'the VM does not support changed block tracking, so every backup of it is a full: its hardware version must be 7 or later',
  failed: 'changed block tracking could not be enabled, so the next backup is a full again',
};

export interface TakeInOptions {
  readonly run: Run;
  readonly targets: Targets;
  readonly outcome: NodeOutcome;
}

/**
 * Takes one event into record, progress and outcome.
 *
 * @throws the node's own error for a `failed` event · `internal` when it says it finished without having copied every disk
 */
export async function takeIn({ sequence, at, event }: JobEvent, o: TakeInOptions): Promise<void> {
  const { run, outcome } = o;
  const number = Number(sequence);
  switch (event?.$case) {
    case 'accepted':
      // One that is stopped already only waits for the job's end.
      return run.signal.aborted ? undefined : run.enter('running');
    case 'changeTracking':
      outcome.changeTracking = event.value.outcome;
      await run.changeTracking(foundTracking(event.value));
      return warnOfChangeTracking(run, event.value.outcome);
    case 'snapshotCreated':
      outcome.takenAt = at ?? new Date();
      return takeInSnapshot(event.value, outcome.takenAt, o);
    case 'diskStarted':
      await takeInStart(event.value, o);
      return run.progressed(number);
    case 'progress':
      for (const { diskKey, bytesDone, bytesTotal } of event.value.disks)
        run.progress?.update(diskKey, {
          bytesDone: safeOffset(bytesDone, 'bytes_done'),
          bytesTotal: safeOffset(bytesTotal, 'bytes_total'),
        });
      return run.progressed(number);
    case 'diskFinished':
      return takeInDisk(event.value, number, o);
    case 'snapshotRemoved':
      return run.snapshotRemoved(event.value.moref);
    case 'warning':
      return takeInWarning(event.value, o);
    case 'finished':
      outcome.ended = true;
      requireAllCopied(o);
      return run.progressed(number, true);
    case 'failed':
      outcome.ended = true;
      throw fromErrorDetail(event.value);
    case undefined:
      // Of a newer node.
      return undefined;
  }
}

type Snapshot = Extract<NonNullable<JobEvent['event']>, { $case: 'snapshotCreated' }>['value'];
type Warning = Extract<NonNullable<JobEvent['event']>, { $case: 'warning' }>['value'];
type Started = Extract<NonNullable<JobEvent['event']>, { $case: 'diskStarted' }>['value'];
type Finished = Extract<NonNullable<JobEvent['event']>, { $case: 'diskFinished' }>['value'];

async function takeInWarning(
  { code, message, context }: Warning,
  { run, outcome }: TakeInOptions,
): Promise<void> {
  if (code !== 'snapshot_remove_failed') return run.warn(code, message, context);
  outcome.snapshotLeft = message;
  return run.warn(code, `${message}. The hub tries again until it is gone`, context);
}

async function takeInSnapshot(
  snapshot: Snapshot,
  createdAt: Date,
  { run, outcome }: TakeInOptions,
): Promise<void> {
  const { moref, name, quiesced, quiesceNote, changeIds, foreignSnapshots } = snapshot;
  outcome.snapshot = { moref, name, quiesced, quiesceNote };
  outcome.foreignSnapshots = foreignSnapshots;
  const known = changeIds.filter(({ changeId }) => changeId !== '');
  for (const { diskKey, changeId } of known) outcome.disk(diskKey).changeId = changeId;
  await run.snapshotCreated({
    ...{ moref, name, quiesced, createdAt, changeIds: known },
    ...(quiesceNote === '' ? {} : { quiesceNote }),
  });
  if (run.request.quiesce && !quiesced)
    await run.warn(
      'not_quiesced',
      `the guest's file systems were not flushed before the snapshot: ${quiesceNote || 'vSphere did not say why'}`,
    );
  if (foreignSnapshots > 0)
    await run.warn(
      'foreign_snapshots',
      `the VM carries ${foreignSnapshots} snapshot${foreignSnapshots === 1 ? '' : 's'} of somebody else: left alone, and backed up as the VM shows itself`,
      { count: String(foreignSnapshots) },
    );
}

async function takeInStart(
  { diskKey, extentSource, bytesTotal, fullReason: reason, fullDetail: detail }: Started,
  { run, targets, outcome }: TakeInOptions,
): Promise<void> {
  const disk = outcome.disk(diskKey);
  disk.extentSource = extentSource;
  run.progress?.update(diskKey, { bytesTotal: safeOffset(bytesTotal, 'bytes_total'), bytesDone: 0 });
  await run.disk(diskKey, { status: 'copying' });
  const target = targets.disks.find(({ plan }) => plan.key === diskKey);
  if (reason === '' || target?.plan.type !== 'incremental') return;
  disk.full = { reason, detail };
  await run.becomesFull(diskKey, disk.full);
}

async function takeInDisk(
  disk: Finished,
  number: number,
  { run, targets, outcome }: TakeInOptions,
): Promise<void> {
  const { diskKey } = disk;
  const bytesRead = safeOffset(disk.bytesRead, 'bytes_read');
  const bytesWritten = safeOffset(disk.bytesWritten, 'bytes_written');
  const bytesZeroed = safeOffset(disk.bytesZeroed, 'bytes_zeroed');
  const audited = disk.auditedBlocks.map(({ block, hash }) => ({
    block: safeOffset(block, 'block'),
    hash: hash.length === 0 ? undefined : hash,
  }));
  Object.assign(outcome.disk(diskKey), { bytesRead, bytesWritten, bytesZeroed, audited, copied: true });
  run.progress?.update(diskKey, { bytesDone: bytesRead, bytesTotal: bytesRead });
  await run.disk(diskKey, { status: 'copied' });
  const { full } = outcome.disk(diskKey);
  const isIncremental = targets.disks.some(({ plan }) => plan.key === diskKey && plan.type === 'incremental');
  await run.copied(diskKey, {
    ...{ bytesRead, bytesWritten, bytesZeroed },
    ...(isIncremental && !full ? { auditedBlocks: audited.length } : {}),
  });
  await run.progressed(number, true);
}

async function warnOfChangeTracking(run: Run, outcome: string): Promise<void> {
  const message = CHANGE_TRACKING_OFF[outcome];
  if (message !== undefined) await run.warn('change_tracking_off', message, { outcome });
}

function requireAllCopied({ run, targets, outcome }: TakeInOptions): void {
  const missing = targets.disks.filter(({ plan }) => !outcome.disks.get(plan.key)?.copied);
  if (missing.length === 0 && outcome.snapshot) return;
  const keys = missing.map(({ plan }) => plan.key).join(', ');
  throw new SendenseError(
    'internal',
    `node ${run.nodeName} says that job ${run.id} finished, but not that ${outcome.snapshot ? `disk ${keys} was copied` : 'a snapshot was taken'}: are hub and node of the same version?`,
    { context: { job_id: run.id, node_name: run.nodeName } },
  );
}
