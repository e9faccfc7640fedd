import { SendenseError, toSendenseError, type ErrorCode } from '@sendense/core';
import { delay, type Logger } from '@sendense/runtime';
import type { Snapshot, VSphereSession } from '@sendense/vsphere';
import { isOfJob, snapshotName } from './ownership.js';

const PAUSE_MS = 500;

const NO_SNAPSHOT: readonly ErrorCode[] = [
  'snapshot_create_failed',
  'vm_not_found',
  'cancelled',
  'vcenter_fault',
];

/** After such an error of its creation vCenter has said that there is no snapshot, or the vSphere client has taken it back. */
export function leavesNoSnapshot({ code }: SendenseError): boolean {
  return NO_SNAPSHOT.includes(code);
}

export interface JobSnapshotRequest {
  readonly jobId: string;
  readonly vmMoref: string;
  /** vCenter may still be creating it: wait for it to appear. */
  readonly mayAppear: boolean;
  /** How long to try, and to wait. */
  readonly patienceMs: number;
  /** Lends a session for one try. */
  readonly withSession: (work: (session: VSphereSession) => Promise<void>) => Promise<void>;
  readonly log: Logger;
}

/** What came of it. */
export interface JobSnapshotRemoval {
  readonly removed: readonly Snapshot[];
  /** Set when a snapshot is left, or nobody can tell whether one is. */
  readonly failure?: SendenseError;
}

/**
 * Removes the snapshot of a job of which nobody knows whether it is there: its creator died, or the answer was lost. What
 * may pass is tried again, because vCenter refuses to remove a snapshot while it is busy with it. Never throws.
 */
export async function removeJobSnapshot(request: JobSnapshotRequest): Promise<JobSnapshotRemoval> {
  const removed: Snapshot[] = [];
  const deadline = Date.now() + request.patienceMs;
  for (;;) {
    let failure: SendenseError | undefined;
    try {
      await request.withSession((session) => removeAll(session, request, removed));
    } catch (error) {
      failure = toSendenseError(error);
    }
    if (!failure && (removed.length > 0 || !request.mayAppear)) return { removed };
    if ((failure && !mayPass(failure)) || Date.now() >= deadline)
      return { removed, failure: failure ?? notSeen(request) };
    await delay(PAUSE_MS);
  }
}

async function removeAll(
  session: VSphereSession,
  { vmMoref, jobId, log }: JobSnapshotRequest,
  removed: Snapshot[],
): Promise<void> {
  const found = (await session.snapshots(vmMoref)).filter((snapshot) => isOfJob(snapshot, jobId));
  for (const snapshot of found) {
    await session.removeSnapshot(snapshot.moref);
    removed.push(snapshot);
    log.info({ snapshot: snapshot.moref, vmMoref }, 'snapshot without an owner removed');
  }
  if (found.length > 0) await session.consolidateIfNeeded(vmMoref);
}

/** A password that was refused is not tried again: that would lock the account. */
function mayPass({ kind }: SendenseError): boolean {
  return kind !== 'unauthenticated' && kind !== 'permission_denied' && kind !== 'failed_precondition';
}

function notSeen({ jobId, vmMoref, patienceMs }: JobSnapshotRequest): SendenseError {
  return new SendenseError(
    'snapshot_remove_failed',
    `vCenter was asked for the snapshot ${snapshotName(jobId)} and did not show it within ${patienceMs / 1000} s: it may still appear`,
    { context: { vm_moref: vmMoref }, retryable: true },
  );
}
