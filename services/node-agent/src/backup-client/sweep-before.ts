import { isOfJob, isStale } from '../snapshots/ownership.js';
import { removeSnapshots } from '../snapshots/sweep.js';
import type { VSphereSession } from '@sendense/vsphere';
import type { JobPorts } from './job.js';
import type { JobSpec } from './spec.js';

/**
 * Removes what earlier backups left on this VM: changed block tracking cannot be enabled above it, and a chain of forgotten
 * snapshots fills the datastore. A failure to remove one is a warning, because a backup beside it is still a good one.
 *
 * @returns how many snapshots stay, other people's above all
 */
export async function sweepBeforeBackup(
  vcenter: VSphereSession,
  spec: JobSpec,
  { log, emit }: JobPorts,
): Promise<number> {
  const rule = { nodeName: spec.nodeName, runningJobs: () => spec.runningJobs, now: new Date() };
  const before = await vcenter.snapshots(spec.vm.moref);
  const swept = await removeSnapshots(
    vcenter,
    spec.vm.moref,
    // One with this job's own name is of an earlier attempt: this one has not begun.
    (snapshot) => isStale(snapshot, rule) || isOfJob(snapshot, spec.jobId),
    log,
  );
  for (const { snapshot, error } of swept) {
    if (error === undefined) continue;
    emit({
      $case: 'warning',
      value: {
        code: error.code,
        message: `the stale snapshot ${snapshot.name} (${snapshot.moref}) could not be removed: ${error.message}`,
        context: { snapshot_moref: snapshot.moref, vm_moref: spec.vm.moref },
      },
    });
  }
  return before.length - swept.filter(({ error }) => error === undefined).length;
}
