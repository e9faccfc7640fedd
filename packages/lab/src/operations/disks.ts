import { SendenseError } from '@sendense/core';
import type { LabContext } from '../context.js';
import { checkDiskSize, makeDisk } from '../model/devices.js';
import { newDiskUuid } from '../model/ids.js';
import type { DiskState, VmState } from '../model/state.js';
import { newBaseName } from '../model/vmdks.js';
import { ZERO } from '../storage/grain-map.js';
import { grainsOf } from '../storage/layer.js';
import type { DiskSpec } from '../types.js';
import { deleteDisposable } from './consolidation.js';

/** @throws `invalid_argument` · `already_exists` */
export async function addDisk(context: LabContext, vm: VmState, spec: DiskSpec): Promise<DiskState> {
  return context.locks.run(vm, async () => {
    const disk = makeDisk(vm, spec, newDiskUuid(), newBaseName(vm));
    createBase(context, vm, disk);
    vm.disks.push(disk);
    vm.disks.sort((a, b) => a.key - b.key);
    await context.file.save();
    return disk;
  });
}

/** The empty file of a new disk. */
function createBase(context: LabContext, vm: VmState, disk: DiskState): void {
  const layer = context.layers.create(disk.sizeBytes);
  // A thick disk has all of its blocks from the start, and they read as zeros.
  if (!disk.thin) layer.map.set(0, grainsOf(disk.sizeBytes), ZERO);
  vm.vmdks[disk.fileName] = { layers: [layer.id] };
}

/** @throws `not_found` */
export function findDisk(vm: VmState, diskKey: number): DiskState {
  const disk = vm.disks.find(({ key }) => key === diskKey);
  if (disk) return disk;
  throw new SendenseError(
    'not_found',
    `${vm.name} has no disk ${diskKey}, but ${vm.disks.map(({ key }) => key).join(', ')}`,
  );
}

/** Takes the disk off the VM and deletes its files, but for those that snapshots still hold. */
export async function removeDisk(context: LabContext, vm: VmState, diskKey: number): Promise<void> {
  await context.locks.run(vm, async () => {
    const disk = findDisk(vm, diskKey);
    vm.disks = vm.disks.filter((other) => other !== disk);
    await deleteDisposable(context, vm);
    await context.file.save();
  });
}

/**
 * Puts another, empty disk in the place of this one: same key and unit, its own backing uuid and file. Snapshots keep the
 * old one.
 * @throws `invalid_argument`
 */
export async function replaceDisk(
  context: LabContext,
  vm: VmState,
  diskKey: number,
  { sizeBytes }: { readonly sizeBytes?: number },
): Promise<DiskState> {
  return context.locks.run(vm, async () => {
    const old = findDisk(vm, diskKey);
    const { tracking: _tracking, ...place } = old;
    const size = sizeBytes ?? old.sizeBytes;
    checkDiskSize(size);
    const disk: DiskState = {
      ...place,
      uuid: newDiskUuid(),
      fileName: newBaseName(vm),
      sizeBytes: size,
    };
    createBase(context, vm, disk);
    vm.disks = vm.disks.map((other) => (other === old ? disk : other));
    await deleteDisposable(context, vm);
    await context.file.save();
    return disk;
  });
}

/** @throws `conflict` while snapshots exist · `invalid_argument` when it would not grow */
export async function growDisk(
  context: LabContext,
  vm: VmState,
  diskKey: number,
  sizeBytes: number,
): Promise<DiskState> {
  return context.locks.run(vm, async () => {
    const disk = findDisk(vm, diskKey);
    if (vm.snapshots.length > 0 || vm.vmdks[disk.fileName]?.parent !== undefined) {
      throw new SendenseError('conflict', `${vm.name} has snapshots: vSphere grows no disk while they exist`);
    }
    if (!Number.isSafeInteger(sizeBytes) || sizeBytes % 512 !== 0 || sizeBytes < disk.sizeBytes) {
      throw new SendenseError(
        'invalid_argument',
        `disk ${diskKey} of ${vm.name} has ${disk.sizeBytes} bytes: it can only grow, to a multiple of 512`,
      );
    }
    const top = vm.vmdks[disk.fileName]?.layers.at(-1);
    if (top !== undefined) {
      const layer = context.layers.get(top);
      const before = grainsOf(disk.sizeBytes);
      layer.grow(sizeBytes);
      if (!disk.thin) layer.map.set(before, grainsOf(sizeBytes) - before, ZERO);
    }
    disk.sizeBytes = sizeBytes;
    await context.file.save();
    return disk;
  });
}
