import { forgetSnapshot, revertToSnapshot } from '../operations/snapshots.js';
import type { SnapshotState, VmState } from '../model/state.js';
import { objectNotFound } from '../soap/fault.js';
import { flag } from '../soap/arguments.js';
import type { Call, Methods } from './call.js';
import { consolidateUnlessTold, targetVm } from './vm-methods.js';
import { startVmTask } from './vm-tasks.js';

function targetSnapshot(call: Call): { vm: VmState; snapshot: SnapshotState } {
  const vm = targetVm(call);
  const snapshot = vm.snapshots.find(({ moref }) => moref === call.target.moref);
  if (!snapshot) throw objectNotFound('VirtualMachineSnapshot', call.target.moref);
  return { vm, snapshot };
}

export const snapshotMethods: Methods = {
  RemoveSnapshot_Task: async (call) => {
    const { vm, snapshot } = targetSnapshot(call);
    const andChildren = flag(call.arguments, 'removeChildren') ?? false;
    const merge = flag(call.arguments, 'consolidate') ?? true;
    return startVmTask(call, vm, 'VirtualMachineSnapshot.remove', async (progress) => {
      // Gone from the tree at once; what takes long is the merging.
      await forgetSnapshot(call.service.context, vm, snapshot, andChildren);
      progress(30);
      if (merge) await consolidateUnlessTold(call, vm);
      return undefined;
    });
  },

  RevertToSnapshot_Task: async (call) => {
    const { vm, snapshot } = targetSnapshot(call);
    return startVmTask(call, vm, 'VirtualMachineSnapshot.revert', async () => {
      await revertToSnapshot(call.service.context, vm, snapshot);
      return undefined;
    });
  },
};
