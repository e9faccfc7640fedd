import { randomUUID } from 'node:crypto';
import { toSendenseError, type SendenseError } from '@sendense/core';
import type { Logger } from '@sendense/runtime';
import type { VSphereSession } from '@sendense/vsphere';
import { snapshotDescription, snapshotName } from './ownership.js';
import { leavesNoSnapshot, removeJobSnapshot } from './remove-job-snapshot.js';

/** How long a removal that fails is tried again. What is left then is swept later, by its name. */
const REMOVE_PATIENCE_MS = 5000;
/** How long a snapshot is waited for whose creation was not answered. */
const TAKE_BACK_MS = 5000;

export interface StunRequest {
  readonly session: VSphereSession;
  readonly vmMoref: string;
  readonly nodeName: string;
  readonly log: Logger;
}

/**
 * Takes a snapshot and removes it again, because changed block tracking that was enabled starts with a stun of the VM
 * (VMware KB 1020128). The snapshot is named like that of a backup, so that a sweep finds one that was left behind.
 *
 * The signal ends the creation, never the removal.
 * @throws as `createSnapshot` of the session; `snapshot_remove_failed` and others when the snapshot may be left
 */
export async function stunCycle(request: StunRequest, signal: AbortSignal): Promise<void> {
  const { session, vmMoref, nodeName } = request;
  const jobId = `change-tracking-${randomUUID()}`;
  const name = snapshotName(jobId);
  const description = snapshotDescription(jobId, nodeName);
  try {
    await session.createSnapshot(vmMoref, { name, description, quiesce: false }, signal);
  } catch (thrown) {
    const error = toSendenseError(thrown);
    // When it was the answer that was lost, the snapshot is there all the same, or will be in a moment.
    if (!leavesNoSnapshot(error)) {
      const left = await remove(request, jobId, true);
      if (left) request.log.warn({ vmMoref, code: left.code, error: left.message }, 'a snapshot may be left');
    }
    throw error;
  }
  const left = await remove(request, jobId, false);
  if (left) throw left;
}

async function remove(
  { session, vmMoref, log }: StunRequest,
  jobId: string,
  mayAppear: boolean,
): Promise<SendenseError | undefined> {
  const { failure } = await removeJobSnapshot({
    jobId,
    vmMoref,
    mayAppear,
    patienceMs: mayAppear ? TAKE_BACK_MS : REMOVE_PATIENCE_MS,
    withSession: (work) => work(session),
    log,
  });
  return failure;
}
