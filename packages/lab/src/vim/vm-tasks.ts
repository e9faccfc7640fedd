import type { VmState } from '../model/state.js';
import { orderedFault, taskInProgress } from '../soap/fault.js';
import { reference, type Value } from '../soap/value.js';
import { holdUp } from '../faults.js';
import type { LabFault } from '../types.js';
import type { Call } from './call.js';
import { inventoryName } from './inventory-objects.js';
import type { TaskWork } from './tasks.js';

/** Whether a fault fails or delays the task that a method starts, and not the call. */
export function strikesTask(method: string, fault: LabFault): boolean {
  return method.endsWith('_Task') && (fault.stage ?? 'task') === 'task';
}

/**
 * Starts the only task of a VM. What the lab was told of this method strikes at its begin.
 * @throws VimFault TaskInProgress while another one runs
 */
export function startVmTask(call: Call, vm: VmState, descriptionId: string, work: TaskWork): Value {
  const { service } = call;
  const running = service.busy.get(vm.moref);
  if (running !== undefined) throw taskInProgress(running);
  const faults = call.faults.filter((fault) => strikesTask(call.method, fault));
  const entity = reference('VirtualMachine', vm.moref);
  const about = {
    method: call.method,
    descriptionId,
    entity,
    entityName: inventoryName(vm.name),
    username: call.session.username,
  };
  const task = service.tasks.start(
    about,
    ({ moref }) =>
      async (progress) => {
        for (const fault of faults) {
          if (!(await holdUp(fault, service.stopping))) continue;
          if (fault.fault !== undefined)
            throw orderedFault(fault.fault, fault.message, { target: entity, task: moref });
        }
        return work(progress);
      },
    () => service.busy.delete(vm.moref),
  );
  service.busy.set(vm.moref, task.moref);
  return reference('Task', task.moref);
}
