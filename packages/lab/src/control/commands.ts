import { SendenseError } from '@sendense/core';
import type { DiskSpec, GuestWrite, Lab, LabFault, PowerState, ToolsState, VmSpec } from '../types.js';

/** What a running lab does for the other `sendense-lab` commands, with its arguments. */
export interface Commands {
  info: Record<string, never>;
  'vm.create': { spec: VmSpec };
  'vm.list': Record<string, never>;
  'vm.show': { vm: string };
  'vm.remove': { vm: string };
  'vm.power': { vm: string; state: PowerState };
  'vm.tools': { vm: string; state: ToolsState };
  'vm.tracking': { vm: string; change: TrackingChange; disk?: number };
  'vm.consolidate': { vm: string };
  'guest.write': { vm: string; disk: number; write: Exclude<GuestWrite, { data: Uint8Array }> };
  'disk.path': { vm: string; disk: number; snapshot?: string };
  'disk.add': { vm: string; spec: DiskSpec };
  'disk.remove': { vm: string; disk: number };
  'disk.grow': { vm: string; disk: number; sizeBytes: number };
  'disk.replace': { vm: string; disk: number; sizeBytes?: number };
  'snapshot.list': { vm: string };
  'snapshot.create': { vm: string; name: string; description?: string };
  'snapshot.remove': { vm: string; snapshot: string };
  'snapshot.revert': { vm: string; snapshot: string };
  'fault.set': { fault: LabFault };
  'fault.clear': { which?: number | string };
  'fault.list': Record<string, never>;
  'session.expire': Record<string, never>;
  'vcenter.stop': Record<string, never>;
  'vcenter.start': Record<string, never>;
  journal: Record<string, never>;
}

/** `reset`: another uuid; `forget`: the same uuid, but earlier changeIds are stale. These two may be for one disk. */
export type TrackingChange = 'on' | 'off' | 'reset' | 'forget';

export type CommandName = keyof Commands;

/** What each answers is what becomes JSON. */
const COMMANDS: { readonly [Name in CommandName]: (lab: Lab, input: Commands[Name]) => unknown } = {
  info: (lab) => describeAccess(lab),
  'vm.create': async (lab, { spec }) => lab.createVm(spec),
  'vm.list': (lab) => lab.vms(),
  'vm.show': (lab, { vm }) => ({
    ...lab.vm(vm),
    snapshots: lab.snapshots(vm),
    history: lab.snapshotHistory(vm),
  }),
  'vm.remove': async (lab, { vm }) => lab.removeVm(vm),
  'vm.power': async (lab, { vm, state }) => lab.setPower(vm, state),
  'vm.tools': async (lab, { vm, state }) => lab.setTools(vm, state),
  'vm.tracking': async (lab, { vm, change, disk }) => {
    if (change === 'reset') return lab.resetChangeTracking(vm, disk);
    if (change === 'forget') return lab.forgetChanges(vm, disk);
    if (disk === undefined) return lab.setChangeTracking(vm, change === 'on');
    throw new SendenseError('invalid_argument', 'change tracking is on or off for all disks of a VM');
  },
  'vm.consolidate': async (lab, { vm }) => lab.consolidate(vm),
  'guest.write': async (lab, { vm, disk, write }) => lab.guestWrite(vm, disk, write),
  'disk.path': async (lab, { vm, disk, snapshot }) =>
    lab.diskImage(vm, disk, snapshot === undefined ? {} : { snapshot }),
  'disk.add': async (lab, { vm, spec }) => lab.addDisk(vm, spec),
  'disk.remove': async (lab, { vm, disk }) => lab.removeDisk(vm, disk),
  'disk.grow': async (lab, { vm, disk, sizeBytes }) => lab.growDisk(vm, disk, sizeBytes),
  'disk.replace': async (lab, { vm, disk, ...options }) => lab.replaceDisk(vm, disk, options),
  'snapshot.list': (lab, { vm }) => ({ snapshots: lab.snapshots(vm), history: lab.snapshotHistory(vm) }),
  'snapshot.create': async (lab, { vm, ...options }) => lab.createSnapshot(vm, options),
  'snapshot.remove': async (lab, { vm, snapshot }) => lab.removeSnapshot(vm, snapshot),
  'snapshot.revert': async (lab, { vm, snapshot }) => lab.revertToSnapshot(vm, snapshot),
  'fault.set': (lab, { fault }) => ({ id: lab.setFault(fault) }),
  'fault.clear': (lab, { which }) => lab.clearFaults(which),
  'fault.list': (lab) => lab.faults(),
  'session.expire': (lab) => lab.expireSessions(),
  'vcenter.stop': async (lab) => lab.stopVCenter(),
  'vcenter.start': async (lab) => lab.startVCenter(),
  journal: (lab) => lab.journal(),
};

export function isCommand(name: string): name is CommandName {
  return Object.hasOwn(COMMANDS, name);
}

export async function runLabCommand<Name extends CommandName>(
  lab: Lab,
  name: Name,
  input: Commands[Name],
): Promise<unknown> {
  return COMMANDS[name](lab, input);
}

/** How others reach the lab: what `serve` prints. */
export function describeAccess(lab: Lab): Record<string, unknown> {
  return {
    endpoint: lab.endpoint,
    thumbprint_sha1: lab.thumbprints.sha1,
    thumbprint_sha256: lab.thumbprints.sha256,
    username: lab.username,
    password_file: lab.passwordFile,
    vddk_libdir: lab.vddkLibdir,
    vddk_env: lab.vddkEnvironment,
  };
}
