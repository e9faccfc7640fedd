import { throwIfAborted } from '@sendense/core';
import { virtualMachine } from './inventory.js';
import { flattenSnapshots } from './snapshot-tree.js';
import { startTask, vmProperties, type SnapshotContext } from './snapshots.js';
import { dataObject, value } from './soap/markup.js';
import { readBoolean, readText } from './soap/values.js';
import type { ChangeTrackingOutcome } from './types.js';
import { waitForTask } from './vim/tasks.js';

/** Changed block tracking came with virtual hardware 7 (vSphere 4). */
const MIN_HARDWARE_VERSION = 7;

/**
 * Turns changed block tracking on. It starts with the next stun of the VM (VMware KB 1020128): the backup's own snapshot,
 * so that no second one is taken for it. Not while snapshots exist: what was written before would not be tracked, and
 * `changeId "*"` would not know it either.
 */
export async function enableChangeTracking(
  context: SnapshotContext,
  vmMoref: string,
  signal?: AbortSignal,
): Promise<ChangeTrackingOutcome> {
  const { client } = context;
  throwIfAborted(signal);
  const vm = await vmProperties(
    client,
    vmMoref,
    ['capability.changeTrackingSupported', 'config.changeTrackingEnabled', 'config.version', 'snapshot'],
    signal,
  );
  if (readBoolean(vm.get('config.changeTrackingEnabled'))) return 'already_enabled';
  if (!readBoolean(vm.get('capability.changeTrackingSupported'))) return 'not_supported';
  if (hardwareVersion(readText(vm.get('config.version'))) < MIN_HARDWARE_VERSION) return 'not_supported';
  if (flattenSnapshots(vm.get('snapshot')).length > 0) return 'snapshots_exist';

  const spec = dataObject('spec', [value('changeTrackingEnabled', true)]);
  const task = await startTask(client, 'ReconfigVM_Task', virtualMachine(vmMoref), [spec]);
  await waitForTask(client, task, {
    what: `enabling changed block tracking of ${vmMoref}`,
    timeoutMs: context.timeoutMs('reconfigure'),
    ...(signal ? { signal } : {}),
  });
  return 'enabled_now';
}

/** `vmx-13` → 13; 0 when there is none. */
function hardwareVersion(version: string | undefined): number {
  return Number(/^vmx-0*(\d+)$/.exec(version ?? '')?.[1] ?? 0);
}
