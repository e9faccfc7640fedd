import { SendenseError, throwIfAborted, toSendenseError } from '@sendense/core';
import { snapshotDisks } from './disks.js';
import { virtualMachine } from './inventory.js';
import { flattenSnapshots, type TreeSnapshot } from './snapshot-tree.js';
import { faultAs, faultOf, isFault } from './soap/fault.js';
import { value, type ManagedObject } from './soap/markup.js';
import { readBoolean, readReference, required } from './soap/values.js';
import type { SnapshotDisk } from './types.js';
import type { VimClient } from './vim/client.js';
import { retrieveObject, type ObjectProperties } from './vim/properties.js';
import { waitForTask } from './vim/tasks.js';

/** Time limits of each kind of task, unless the session was given one for all. */
export const TASK_TIMEOUTS_MS = {
  /** Quiescing alone may take the guest ten minutes. */
  createSnapshot: 20 * 60_000,
  /** Merging what the guest wrote meanwhile takes as long as it takes. */
  removeSnapshot: 12 * 3_600_000,
  consolidate: 12 * 3_600_000,
  reconfigure: 5 * 60_000,
};

/** What the operations on snapshots work with. */
export interface SnapshotContext {
  readonly client: VimClient;
  readonly timeoutMs: (kind: keyof typeof TASK_TIMEOUTS_MS) => number;
}

/** Properties of a VM. @throws `vm_not_found` */
export async function vmProperties(
  client: VimClient,
  vmMoref: string,
  paths: readonly string[],
  signal?: AbortSignal,
): Promise<ObjectProperties> {
  try {
    return await retrieveObject(client, virtualMachine(vmMoref), paths, signal);
  } catch (error) {
    throw isFault(error, 'ManagedObjectNotFound') ? vmNotFound(client, vmMoref, error) : error;
  }
}

/** Every snapshot of the VM, parents before children. @throws `vm_not_found` */
export async function listSnapshots(client: VimClient, vmMoref: string): Promise<TreeSnapshot[]> {
  const vm = await vmProperties(client, vmMoref, ['snapshot']);
  return flattenSnapshots(vm.get('snapshot'));
}

/** The disks as they were at the instant of the snapshot. @throws `not_found` */
export async function readSnapshotDisks(client: VimClient, snapshotMoref: string): Promise<SnapshotDisk[]> {
  try {
    const snapshot = await retrieveObject(client, snapshotObject(snapshotMoref), ['config.hardware.device']);
    return snapshotDisks(snapshot.items('config.hardware.device'));
  } catch (error) {
    if (!isFault(error, 'ManagedObjectNotFound')) throw error;
    throw new SendenseError('not_found', `snapshot ${snapshotMoref} is gone from ${client.endpoint}`, {
      context: { endpoint: client.endpoint, snapshot_moref: snapshotMoref },
      cause: error,
    });
  }
}

/** Removes exactly one snapshot: its children stay, and its delta disks are merged before this returns. */
export async function removeSnapshot(
  context: SnapshotContext,
  snapshotMoref: string,
  signal?: AbortSignal,
): Promise<void> {
  const { client } = context;
  throwIfAborted(signal);
  const parameters = [value('removeChildren', false), value('consolidate', true)];
  try {
    const task = await startTask(client, 'RemoveSnapshot_Task', snapshotObject(snapshotMoref), parameters);
    await waitForTask(client, task, {
      what: `removing snapshot ${snapshotMoref}`,
      timeoutMs: context.timeoutMs('removeSnapshot'),
      ...(signal ? { signal } : {}),
    });
  } catch (error) {
    const fault = faultOf(error);
    if (fault === undefined) throw error;
    const gone =
      fault.name === 'ManagedObjectNotFound' && (fault.details['object'] ?? snapshotMoref) === snapshotMoref;
    if (gone) return;
    throw faultAs(
      'snapshot_remove_failed',
      `snapshot ${snapshotMoref} could not be removed: it grows until it is, remove it in vCenter if this persists`,
      toSendenseError(error),
    );
  }
}

/** After a removal that could not merge everything, vSphere asks for this. */
export async function consolidateIfNeeded(
  context: SnapshotContext,
  vmMoref: string,
  signal?: AbortSignal,
): Promise<boolean> {
  const { client } = context;
  const vm = await vmProperties(client, vmMoref, ['runtime.consolidationNeeded'], signal);
  if (!readBoolean(vm.get('runtime.consolidationNeeded'))) return false;
  const task = await startTask(client, 'ConsolidateVMDisks_Task', virtualMachine(vmMoref), []);
  await waitForTask(client, task, {
    what: `consolidating the disks of ${vmMoref}`,
    timeoutMs: context.timeoutMs('consolidate'),
    ...(signal ? { signal } : {}),
  });
  return true;
}

/** Starts a task and returns it. */
export async function startTask(
  client: VimClient,
  method: string,
  target: ManagedObject,
  parameters: Parameters<VimClient['call']>[2],
): Promise<ManagedObject> {
  const [task] = await client.call(method, target, parameters, { changes: true });
  return required(readReference(task), `the task of ${method}`);
}

function snapshotObject(moref: string): ManagedObject {
  return { type: 'VirtualMachineSnapshot', value: moref };
}

export function vmNotFound(client: VimClient, vmMoref: string, cause: unknown): SendenseError {
  return new SendenseError(
    'vm_not_found',
    `${client.endpoint} has no VM ${vmMoref}: it was removed or registered anew`,
    {
      context: { endpoint: client.endpoint, vm_moref: vmMoref },
      cause,
    },
  );
}
