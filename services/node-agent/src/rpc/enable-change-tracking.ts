import type { EnableChangeTrackingRequest, EnableChangeTrackingResponse } from '@sendense/contracts';
import { connectVSphere, type VirtualMachine } from '@sendense/vsphere';
import { findVm } from '../backup-client/inventory.js';
import { stunCycle } from '../snapshots/stun-cycle.js';
import { sweepStaleSnapshots } from '../snapshots/sweep.js';
import { connectOptions } from './connect-options.js';
import type { RpcContext } from './context.js';
import { moref, text, vcenter } from './validation.js';

/**
 * Enables changed block tracking and starts it at once, so that the first backup has changeIds already.
 *
 * @throws `vm_not_found` when the moref is now that of another VM; `snapshot_create_failed` · `snapshot_remove_failed`
 *   when it is enabled, but was not started: then the next backup's snapshot starts it
 */
export async function enableChangeTracking(
  request: EnableChangeTrackingRequest,
  { enrolment: { nodeName }, jobs, log }: RpcContext,
  signal: AbortSignal,
): Promise<EnableChangeTrackingResponse> {
  const credentials = vcenter(request.vcenter);
  const wanted = {
    moref: moref('vm_moref', request.vmMoref),
    instanceUuid: text('vm_instance_uuid', request.vmInstanceUuid, 'the instance UUID of the VM'),
    name: request.vmName === '' ? request.vmMoref : request.vmName,
  };
  await using session = await connectVSphere(connectOptions(credentials, log, signal));
  const vm = await findVm(session, { vm: wanted });
  if (vm.changeTrackingEnabled && runsOnEveryDisk(vm)) return answer(true, 'already_enabled');

  // What an earlier attempt or backup left behind is no reason to refuse.
  const rule = { nodeName, runningJobs: () => jobs.running().map(({ id }) => id), now: new Date() };
  await sweepStaleSnapshots(session, vm.moref, rule, log);
  const outcome = await session.enableChangeTracking(vm.moref, signal);
  if (outcome === 'not_supported' || outcome === 'snapshots_exist') return answer(false, outcome);
  // Enabled by somebody else, who did not start it.
  if (outcome === 'already_enabled' && (await session.snapshots(vm.moref)).length > 0)
    return answer(false, 'snapshots_exist');
  await stunCycle({ session, vmMoref: vm.moref, nodeName, log }, signal);
  return answer(true, outcome === 'already_enabled' ? 'started_now' : outcome);
}

/** A disk that no snapshot holds is not tracked either. */
function runsOnEveryDisk({ disks }: VirtualMachine): boolean {
  return disks.every(
    ({ changeId, unsupportedReason }) => changeId !== undefined || unsupportedReason !== undefined,
  );
}

function answer(enabled: boolean, outcome: string): EnableChangeTrackingResponse {
  return { changeTracking: { enabled, outcome } };
}
