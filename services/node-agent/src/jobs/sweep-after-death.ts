import type { Logger } from '@sendense/runtime';
import { connectVSphere } from '@sendense/vsphere';
import type { JobPhase, SupervisedJob } from '../backup-client/spec.js';
import { leftBehind } from '../snapshots/left-behind.js';
import { removeJobSnapshot } from '../snapshots/remove-job-snapshot.js';
import type { JobEventBody } from './event-log.js';

/** The hub waits for the job's end meanwhile, and sweeps once more when a warning asks for it. */
const PATIENCE_MS = 8000;

/**
 * Removes the snapshot of a job whose client died.
 *
 * @returns the events that tell what came of it; what could not be done is a warning, and the hub's reaper tries again
 */
export async function sweepAfterDeath(
  job: SupervisedJob,
  phase: JobPhase,
  log: Logger,
): Promise<JobEventBody[]> {
  const { jobId, vm, vcenter } = job;
  const { removed, failure } = await removeJobSnapshot({
    jobId,
    vmMoref: vm.moref,
    mayAppear: phase === 'creating_snapshot',
    patienceMs: PATIENCE_MS,
    withSession: async (work) => {
      await using session = await connectVSphere({ ...vcenter, log });
      await work(session);
    },
    log,
  });
  const events: JobEventBody[] = removed.map(({ moref }) => ({
    $case: 'snapshotRemoved',
    value: { moref, consolidated: false },
  }));
  return failure ? [...events, leftBehind(job, failure)] : events;
}
