import { randomUUID } from 'node:crypto';
import { SendenseError } from '@sendense/core';
import type { LabContext } from '../context.js';
import { datastoreNamed, folderAt, hostNamed, newMoref, newVmDirectory } from '../model/inventory.js';
import type { VmState } from '../model/state.js';
import type { VmSpec } from '../types.js';
import { discardLayers } from './consolidation.js';
import { addDisk } from './disks.js';
import { startTracking } from './tracking.js';

/** @throws `already_exists` · `invalid_argument` */
export async function createVm(context: LabContext, spec: VmSpec): Promise<VmState> {
  // One at a time: names and folders must be unique.
  return context.locks.run({ moref: 'new VMs' }, async () => makeVm(context, spec));
}

async function makeVm(context: LabContext, spec: VmSpec): Promise<VmState> {
  checkName(context, spec.name);
  const { state } = context;
  const datastore = datastoreNamed(state, spec.datastore ?? 'labds').name;
  const enabled = spec.changeTrackingEnabled ?? false;
  const vm: VmState = {
    moref: newMoref(state, 'vm'),
    name: spec.name,
    instanceUuid: `50${randomUUID().slice(2)}`,
    biosUuid: `42${randomUUID().slice(2)}`,
    template: spec.template ?? false,
    hardwareVersion: spec.hardwareVersion ?? 'vmx-19',
    changeTrackingSupported: spec.changeTrackingSupported ?? true,
    host: hostNamed(state, spec.host ?? 'esxi-1.lab').name,
    datastore,
    folder: folderAt(state, spec.folder ?? ''),
    directory: newVmDirectory(state, spec.name, datastore),
    powerState: spec.powerState ?? 'poweredOn',
    tools: spec.tools ?? 'running',
    changeTrackingEnabled: enabled,
    allocatedKnown: enabled,
    controllers: [],
    disks: [],
    vmdks: {},
    snapshots: [],
    nextSnapshotId: 1,
    changeVersion: new Date().toISOString(),
  };
  for (const disk of spec.disks ?? []) await addDisk(context, vm, disk);
  startTracking(vm);
  await context.vddk.publishVm(vm.moref);
  state.vms.push(vm);
  await context.file.save();
  return vm;
}

function checkName(context: LabContext, name: string): void {
  // XML 1.0 has no way to write most control characters, so that vSphere cannot have them in a name.
  if (name === '' || !name.isWellFormed() || /[^\P{Cc}\t\n\r\u007f-\u009f]|[\ufffe\uffff]/u.test(name)) {
    throw new SendenseError(
      'invalid_argument',
      'the name of a VM must be text that XML can carry, and not empty',
    );
  }
  if (context.state.vms.some((vm) => vm.name === name)) {
    throw new SendenseError('already_exists', `the lab has a VM ${name} already`);
  }
}

/** Deletes the VM with its snapshots and files; kept images stay. */
export async function removeVm(context: LabContext, vm: VmState): Promise<void> {
  await context.locks.run(vm, async () => {
    for (const snapshot of vm.snapshots) await context.vddk.withdrawSnapshot(vm.moref, snapshot.moref);
    await context.vddk.withdrawVm(vm.moref);
    context.state.vms = context.state.vms.filter((other) => other !== vm);
    await context.file.save();
    for (const vmdk of Object.values(vm.vmdks)) discardLayers(context, vmdk.layers);
    vm.vmdks = {};
    vm.disks = [];
    vm.snapshots = [];
  });
}
