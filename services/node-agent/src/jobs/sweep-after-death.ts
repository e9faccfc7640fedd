import { printable, toSendenseError, type SendenseError } from '@sendense/core';
import { delay, type Logger } from '@sendense/runtime';
import { connectVSphere, type Snapshot, type VSphereSession } from '@sendense/vsphere';
import type { JobPhase, SupervisedJob } from '../backup-client/spec.js';
import { isOfJob } from '../snapshots/ownership.js';
import type { JobEventBody } from './event-log.js';

/** A snapshot that was being created when its owner died appears later; one that is being removed refuses us until then. */
const PATIENCE_MS = 20_000;
const PAUSE_MS = 500;

/**
 * Removes the snapshot of a job whose client died. Never throws: what could not be done is a warning, and the hub's reaper
 * tries again.
 *
 * @returns the events that tell what came of it
 */
export async function sweepAfterDeath(
  spec: SupervisedJob,
  phase: JobPhase,
  log: Logger,
): Promise<JobEventBody[]> {
  const deadline = Date.now() + PATIENCE_MS;
  const removed: Snapshot[] = [];
  let failure: SendenseError | undefined;
  do {
    if (failure) await delay(PAUSE_MS);
    failure = undefined;
    try {
      await using session = await connectVSphere({ ...spec.vcenter, log });
      const wait = phase === 'creating_snapshot' && removed.length === 0;
      await removeAll(session, spec, removed, wait ? deadline : 0);
    } catch (error) {
      failure = toSendenseError(error);
    }
  } while (failure && mayPass(failure) && Date.now() < deadline);
  const events: JobEventBody[] = removed.map(({ moref }) => ({
    $case: 'snapshotRemoved',
    value: { moref, consolidated: false },
  }));
  if (failure) events.push(notRemoved(spec, failure));
  for (const { moref } of removed) log.info({ snapshot: moref }, 'snapshot of a dead backup client removed');
  return events;
}

/** A password that was refused is not tried again: it would lock the account. */
function mayPass({ kind }: SendenseError): boolean {
  return kind !== 'unauthenticated' && kind !== 'permission_denied' && kind !== 'failed_precondition';
}

/** @param appearsUntil until when to wait for a first snapshot, in ms since the epoch; 0: do not */
async function removeAll(
  session: VSphereSession,
  { vm, jobId }: SupervisedJob,
  removed: Snapshot[],
  appearsUntil: number,
): Promise<void> {
  for (;;) {
    const found = (await session.snapshots(vm.moref)).filter((one) => isOfJob(one, jobId));
    for (const snapshot of found) {
      await session.removeSnapshot(snapshot.moref);
      removed.push(snapshot);
    }
    if (found.length > 0) {
      await session.consolidateIfNeeded(vm.moref);
      return;
    }
    if (Date.now() >= appearsUntil) return;
    await delay(PAUSE_MS);
  }
}

function notRemoved(spec: SupervisedJob, error: SendenseError): JobEventBody {
  const vm = `${printable(spec.vm.name)} (${spec.vm.moref})`;
  const message = `the backup client died, and its snapshot of ${vm} could not be removed: ${error.message}`;
  const context = { ...error.context, vm_moref: spec.vm.moref };
  return { $case: 'warning', value: { code: 'snapshot_remove_failed', message, context } };
}
