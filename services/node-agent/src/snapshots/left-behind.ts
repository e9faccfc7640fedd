import { printable, type SendenseError } from '@sendense/core';
import type { JobEventBody } from '../jobs/event-log.js';
import type { SupervisedJob } from '../backup-client/spec.js';
import { snapshotName } from './ownership.js';

/** The warning about a job's snapshot that was not removed, or may appear yet. The hub then has it swept. */
export function leftBehind(
  { jobId, vm }: Pick<SupervisedJob, 'jobId' | 'vm'>,
  failure: SendenseError,
  moref?: string,
): JobEventBody {
  const name = moref === undefined ? snapshotName(jobId) : `${snapshotName(jobId)} (${moref})`;
  const message = `the snapshot ${name} of ${printable(vm.name)} (${vm.moref}) could not be removed, and grows while it is there: ${whyOf(failure)}. Remove it in vCenter if it stays`;
  const context = {
    ...failure.context,
    vm_moref: vm.moref,
    ...(moref === undefined ? {} : { snapshot_moref: moref }),
  };
  return { $case: 'warning', value: { code: 'snapshot_remove_failed', message, context } };
}

/** What vCenter said, without our own words around it. */
function whyOf({ code, message, cause }: SendenseError): string {
  return code === 'snapshot_remove_failed' && cause instanceof Error ? cause.message : message;
}
