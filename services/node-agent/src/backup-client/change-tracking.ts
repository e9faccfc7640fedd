import type { ChangeTracking } from '@sendense/contracts';
import { throwIfAborted, toSendenseError, type ErrorKind } from '@sendense/core';
import type { VirtualMachine, VSphereSession } from '@sendense/vsphere';
import type { JobPorts } from './job.js';
import type { JobSpec } from './spec.js';

/** After these the backup cannot go on either. */
const FATAL: readonly ErrorKind[] = ['unavailable', 'unauthenticated', 'cancelled', 'not_found'];

/**
 * Turns changed block tracking on where that was asked for and is safe, and says what came of it. A full needs none, so
 * a vCenter that refuses is a warning.
 */
export async function prepareChangeTracking(
  vcenter: VSphereSession,
  vm: VirtualMachine,
  spec: JobSpec,
  { emit }: JobPorts,
  signal: AbortSignal,
): Promise<ChangeTracking> {
  if (!spec.enableChangeTracking) return { enabled: vm.changeTrackingEnabled, outcome: 'not_requested' };
  try {
    const outcome = await vcenter.enableChangeTracking(vm.moref, signal);
    return { enabled: outcome === 'already_enabled' || outcome === 'enabled_now', outcome };
  } catch (thrown) {
    throwIfAborted(signal);
    const error = toSendenseError(thrown);
    if (FATAL.includes(error.kind)) throw error;
    const { code, message, context } = error;
    emit({
      $case: 'warning',
      value: { code, message: `change tracking is not enabled: ${message}`, context },
    });
    return { enabled: false, outcome: 'failed' };
  }
}
