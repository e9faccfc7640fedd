import { printable, SendenseError } from '@sendense/core';
import type { VirtualMachine, VSphereSession } from '@sendense/vsphere';
import type { DiskSpec, JobSpec } from './spec.js';

/** @throws `vm_not_found` */
export async function findVm(vcenter: VSphereSession, { vm }: Pick<JobSpec, 'vm'>): Promise<VirtualMachine> {
  const filter = { moref: vm.moref, ...(vm.instanceUuid === '' ? {} : { instanceUuid: vm.instanceUuid }) };
  const found = (await vcenter.listVirtualMachines(filter)).at(0);
  if (found) return found;
  throw new SendenseError(
    'vm_not_found',
    `vCenter has no VM ${printable(vm.name)} (${vm.moref}, instance UUID ${vm.instanceUuid || 'unknown'}): was it deleted or registered anew? Look it up again`,
    { context: { vm_moref: vm.moref, vm_name: vm.name } },
  );
}

/**
 * The disks must be those that the backup was planned for: the same keys, backings and sizes, and none besides.
 * Labels and order mean nothing (FACTS §3: a public tool mixed two disks up by index).
 *
 * @throws `disk_set_changed`
 */
export function requireSameDisks(spec: JobSpec, vm: VirtualMachine): void {
  for (const disk of spec.disks) {
    const found = vm.disks.find(({ key }) => key === disk.key);
    if (!found) throw changed(spec, disk.key, 'is gone');
    if (found.unsupportedReason !== undefined)
      throw changed(spec, disk.key, `cannot be in a snapshot: ${found.unsupportedReason}`);
    requireSameBacking(spec, disk, found);
  }
  if (!spec.everyDisk) return;
  for (const { key, unsupportedReason } of vm.disks) {
    if (unsupportedReason === undefined && !spec.disks.some((disk) => disk.key === key))
      throw changed(spec, key, 'was added');
  }
}

/** @throws `disk_set_changed` when it is another disk than the planned one, although it has the same key */
export function requireSameBacking(
  spec: JobSpec,
  disk: DiskSpec,
  found: { readonly backingUuid: string; readonly capacityBytes: number },
): void {
  if (disk.backingUuid !== undefined && disk.backingUuid !== found.backingUuid)
    throw changed(spec, disk.key, `has another backing: ${found.backingUuid}, planned ${disk.backingUuid}`);
  if (disk.capacityBytes !== found.capacityBytes)
    throw changed(
      spec,
      disk.key,
      `has another size: ${found.capacityBytes} bytes, planned ${disk.capacityBytes}`,
    );
}

export function changed({ vm }: JobSpec, diskKey: number, what: string): SendenseError {
  return new SendenseError(
    'disk_set_changed',
    `disk ${diskKey} of ${printable(vm.name)} (${vm.moref}) ${what}. The disks changed after the backup was planned: start it again`,
    { context: { disk_key: diskKey, vm_moref: vm.moref }, retryable: true },
  );
}
