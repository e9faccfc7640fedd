import type { PowerState } from '../types.js';
import { consolidate } from '../operations/consolidation.js';
import { createSnapshot, forgetSnapshot, revertToSnapshot } from '../operations/snapshots.js';
import { enableTracking, startTracking } from '../operations/tracking.js';
import type { VmState } from '../model/state.js';
import {
  invalidArgument,
  invalidPowerState,
  notSupported,
  objectNotFound,
  orderedFault,
  VimFault,
} from '../soap/fault.js';
import { reference, type Value } from '../soap/value.js';
import { child } from '../soap/xml.js';
import { flag, requiredText, optionalText } from '../soap/arguments.js';
import type { Call, Methods } from './call.js';
import { queryChangedDiskAreas } from './changed-areas.js';
import { startVmTask } from './vm-tasks.js';

/** vSphere's limit of a chain of snapshots. */
const DEEPEST_SNAPSHOT = 32;

/** The VM that the call is for. @throws VimFault ManagedObjectNotFound */
export function targetVm(call: Call): VmState {
  const vm = call.service.vmOf(call.target);
  if (!vm) throw objectNotFound(call.target.type, call.target.moref);
  return vm;
}

function takeSnapshot(call: Call, quiesce: boolean): Value {
  const vm = targetVm(call);
  const name = requiredText(call.arguments, 'name');
  const description = optionalText(call.arguments, 'description') ?? '';
  if (name === '') throw invalidArgument('name');
  // Silently ignored for a VM that is off or has no Tools, as vSphere does.
  const quiesced = quiesce && vm.powerState === 'poweredOn' && vm.tools === 'running';
  return startVmTask(call, vm, 'VirtualMachine.createSnapshot', async () => {
    if (depthOf(vm) >= DEEPEST_SNAPSHOT)
      throw new VimFault('TooManySnapshotLevels', 'Snapshot hierarchy is too deep.');
    if (quiesced) failQuiescing(call, vm);
    const snapshot = await createSnapshot(call.service.context, vm, { name, description, quiesced });
    return reference('VirtualMachineSnapshot', snapshot.moref);
  });
}

function depthOf(vm: VmState): number {
  let depth = 0;
  for (let at = vm.currentSnapshot; at !== undefined; depth++) {
    const moref: string = at;
    at = vm.snapshots.find((snapshot) => snapshot.moref === moref)?.parent;
  }
  return depth;
}

function failQuiescing(call: Call, vm: VmState): void {
  const [fault] = call.service.strike('quiesce', call.target);
  if (!fault) return;
  const message =
    fault.message ??
    "An error occurred while quiescing the virtual machine. See the virtual machine's event log for details.";
  const target = reference('VirtualMachine', vm.moref);
  throw orderedFault(fault.fault ?? 'ApplicationQuiesceFault', message, { target, task: '' });
}

/** Merges, unless the lab was told to leave the deltas behind. */
export async function consolidateUnlessTold(call: Call, vm: VmState): Promise<void> {
  if (call.service.strike('consolidate', call.target).length > 0) return;
  await consolidate(call.service.context, vm);
}

function reconfigure(call: Call): Value {
  const vm = targetVm(call);
  const spec = child(call.arguments, 'spec');
  if (!spec) throw invalidArgument('spec');
  const tracking = flag(spec, 'changeTrackingEnabled');
  const known = new Set(['changeVersion', 'changeTrackingEnabled', 'extraConfig', 'annotation']);
  const unknown = spec.children.find(({ name }) => !known.has(name));
  if (unknown) throw notSupported(`the lab does not change ${unknown.name}`);
  if (tracking === true && !vm.changeTrackingSupported) throw notSupported('changeTrackingEnabled');
  return startVmTask(call, vm, 'VirtualMachine.reconfigure', async () => {
    if (tracking !== undefined) enableTracking(vm, tracking);
    await call.service.context.file.save();
    return undefined;
  });
}

function power(call: Call, wanted: PowerState): Value {
  const vm = targetVm(call);
  if (vm.powerState === wanted || vm.template) throw invalidPowerState(wanted, vm.powerState);
  const operation = wanted === 'poweredOn' ? 'powerOn' : 'powerOff';
  return startVmTask(call, vm, `VirtualMachine.${operation}`, async () => {
    vm.powerState = wanted;
    startTracking(vm);
    await call.service.context.file.save();
    return undefined;
  });
}

export const virtualMachineMethods: Methods = {
  CreateSnapshot_Task: async (call) => takeSnapshot(call, flag(call.arguments, 'quiesce') ?? false),
  CreateSnapshotEx_Task: async (call) =>
    takeSnapshot(call, child(call.arguments, 'quiesceSpec') !== undefined),

  RemoveAllSnapshots_Task: async (call) => {
    const vm = targetVm(call);
    return startVmTask(call, vm, 'VirtualMachine.removeAllSnapshots', async () => {
      for (const snapshot of vm.snapshots.filter(({ parent }) => parent === undefined)) {
        await forgetSnapshot(call.service.context, vm, snapshot, true);
      }
      await consolidateUnlessTold(call, vm);
      return undefined;
    });
  },

  RevertToCurrentSnapshot_Task: async (call) => {
    const vm = targetVm(call);
    const current = vm.snapshots.find(({ moref }) => moref === vm.currentSnapshot);
    if (!current) throw new VimFault('NotFound', 'The virtual machine has no current snapshot.');
    return startVmTask(call, vm, 'VirtualMachine.revertToCurrentSnapshot', async () => {
      await revertToSnapshot(call.service.context, vm, current);
      return undefined;
    });
  },

  ConsolidateVMDisks_Task: async (call) => {
    const vm = targetVm(call);
    return startVmTask(call, vm, 'VirtualMachine.consolidateDisks', async () => {
      await consolidate(call.service.context, vm);
      return undefined;
    });
  },

  ReconfigVM_Task: async (call) => reconfigure(call),
  PowerOnVM_Task: async (call) => power(call, 'poweredOn'),
  PowerOffVM_Task: async (call) => power(call, 'poweredOff'),
  QueryChangedDiskAreas: async (call) => queryChangedDiskAreas(call, targetVm(call)),
};
