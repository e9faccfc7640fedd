import { errorCode, SendenseError, throwIfAborted, toSendenseError } from '@sendense/core';
import { virtualMachine } from './inventory.js';
import {
  listSnapshots,
  removeSnapshot,
  startTask,
  vmNotFound,
  vmProperties,
  type SnapshotContext,
} from './snapshots.js';
import { faultAs, faultOf, isFault } from './soap/fault.js';
import { value, type ManagedObject } from './soap/markup.js';
import { readReference, readText, required } from './soap/values.js';
import type { CreatedSnapshot, SnapshotRequest } from './types.js';
import type { VimClient } from './vim/client.js';
import { quietly, type ObjectProperties } from './vim/properties.js';
import { waitForTask } from './vim/tasks.js';

/** How long a cancelled snapshot is waited for, so that it can be taken back. */
const TAKE_BACK_TIMEOUT_MS = 2 * 60_000;

/**
 * vSphere drops the wish for a quiesced snapshot without a word when the VM is off or has no running VMware Tools, and
 * refuses the snapshot when the guest does not come to rest in time. A backup is worth more than a quiesced one: it is
 * taken without, and the note says why.
 */
export async function createSnapshot(
  context: SnapshotContext,
  vmMoref: string,
  request: SnapshotRequest,
  signal?: AbortSignal,
): Promise<CreatedSnapshot> {
  const { client } = context;
  throwIfAborted(signal);
  if (!request.quiesce)
    return { moref: await takeSnapshot(context, vmMoref, request, signal), quiesced: false };

  const obstacle = quiesceObstacle(
    await vmProperties(client, vmMoref, ['runtime.powerState', 'guest.toolsRunningStatus'], signal),
  );
  const unquiesced = { ...request, quiesce: false };
  if (obstacle !== undefined) {
    return {
      moref: await takeSnapshot(context, vmMoref, unquiesced, signal),
      quiesced: false,
      quiesceNote: obstacle,
    };
  }
  try {
    const moref = await takeSnapshot(context, vmMoref, request, signal);
    return { moref, ...(await whetherQuiesced(client, vmMoref, moref)) };
  } catch (error) {
    const reason = quiesceFailure(error);
    if (reason === undefined) throw error;
    client.log.warn({ vmMoref, reason }, 'the guest could not be quiesced, taking the snapshot without');
    const moref = await takeSnapshot(context, vmMoref, unquiesced, signal);
    return { moref, quiesced: false, quiesceNote: `the guest could not be quiesced: ${reason}` };
  }
}

function quiesceObstacle(vm: ObjectProperties): string | undefined {
  const power = readText(vm.get('runtime.powerState')) ?? 'unknown';
  if (power !== 'poweredOn') return `the VM is not running (${power})`;
  const tools = readText(vm.get('guest.toolsRunningStatus')) ?? 'unknown';
  return tools === 'guestToolsRunning' ? undefined : `VMware Tools are not running in the guest (${tools})`;
}

/** What vSphere recorded with the snapshot. The snapshot exists: a failure to ask must not make it look as if not. */
async function whetherQuiesced(
  client: VimClient,
  vmMoref: string,
  moref: string,
): Promise<Omit<CreatedSnapshot, 'moref'>> {
  try {
    const recorded = (await listSnapshots(client, vmMoref)).find((snapshot) => snapshot.moref === moref);
    if (recorded?.quiesced) return { quiesced: true };
    return { quiesced: false, quiesceNote: 'vSphere took the snapshot, but did not quiesce the guest' };
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    return { quiesced: false, quiesceNote: `whether vSphere quiesced the guest could not be read: ${why}` };
  }
}

/** Why the guest could not be quiesced, when that is what the snapshot failed for. */
function quiesceFailure(error: unknown): string | undefined {
  const fault = error instanceof SendenseError ? faultOf(error.cause) : undefined;
  if (fault === undefined) return undefined;
  const types = ['ApplicationQuiesceFault', 'FilesystemQuiesceFault', 'ToolsUnavailable'];
  const said = [fault.message, ...fault.explanations];
  // Some versions report it as a general fault, and only the text says what it is about.
  const isOne = types.includes(fault.name) || said.some((text) => /quiesc/i.test(text));
  return isOne ? `${fault.name}: ${fault.message}` : undefined;
}

/** Takes the snapshot and returns its moref. Cancelled while it is taken, it is taken back. */
export async function takeSnapshot(
  context: SnapshotContext,
  vmMoref: string,
  { name, description, quiesce }: SnapshotRequest,
  signal: AbortSignal | undefined,
): Promise<string> {
  const { client } = context;
  const what = `the snapshot ${name} of ${vmMoref}`;
  const parameters = [
    value('name', name),
    value('description', description),
    value('memory', false),
    value('quiesce', quiesce),
  ];
  try {
    // Not given up half-way: once vCenter has the request there is a task, and with its name it can be followed.
    const task = await startTask(client, 'CreateSnapshot_Task', virtualMachine(vmMoref), parameters);
    const timeoutMs = context.timeoutMs('createSnapshot');
    try {
      const wait = { what: `creating ${what}`, timeoutMs, ...(signal ? { signal } : {}) };
      return required(readReference(await waitForTask(client, task, wait)), 'the new snapshot').value;
    } catch (error) {
      if (signal?.aborted || errorCode(error) === 'vcenter_task_timeout') await takeBack(context, task, what);
      throw error;
    }
  } catch (error) {
    if (errorCode(error) !== 'vcenter_fault') throw error;
    const fault = toSendenseError(error);
    if (fault.context['object'] === vmMoref && isFault(error, 'ManagedObjectNotFound')) {
      throw vmNotFound(client, vmMoref, error);
    }
    const advice =
      "vCenter's tasks of the VM say more; usual are too many snapshots (consolidate or remove old ones) and a full datastore";
    throw faultAs('snapshot_create_failed', `${what} could not be created (${advice})`, fault);
  }
}

/** Nobody waits for this snapshot any more: stop it if that is still possible, or else remove what it became. */
async function takeBack(context: SnapshotContext, task: ManagedObject, what: string): Promise<void> {
  const { client } = context;
  await quietly(client, client.call('CancelTask', task));
  const timeoutMs = Math.min(TAKE_BACK_TIMEOUT_MS, context.timeoutMs('createSnapshot'));
  try {
    const result = await waitForTask(client, task, { what: `taking back ${what}`, timeoutMs });
    const created = readReference(result);
    if (created) await removeSnapshot(context, created.value, AbortSignal.timeout(timeoutMs));
  } catch (error) {
    // A fault of the task means that there is no snapshot. Otherwise its name says whose it is: the next sweep finds it.
    if (errorCode(error) === 'vcenter_fault') return;
    client.log.warn({ task: task.value, error: String(error) }, `could not take back ${what}`);
  }
}
