import type { DiscoveredVm } from '@sendense/catalog';
import type { VirtualMachine } from '@sendense/contracts';
import { safeOffset } from '@sendense/core';

/** A VM as the node shows it, for the catalogue. */
export function toDiscoveredVm(vm: VirtualMachine): DiscoveredVm {
  return {
    moref: vm.moref,
    instanceUuid: vm.instanceUuid,
    name: vm.name,
    powerState: vm.powerState,
    hostMoref: vm.hostMoref,
    hostName: vm.hostName,
    guestFullName: vm.guestFullName,
    disks: vm.disks.map((disk) => ({
      key: disk.key,
      label: disk.label,
      backingUuid: disk.backingUuid,
      backingFile: disk.backingFile,
      datastore: disk.datastore,
      capacityBytes: safeOffset(disk.capacityBytes, `the capacity of disk ${disk.key} of ${vm.moref}`),
      controllerKey: disk.controllerKey,
      unitNumber: disk.unitNumber,
      ...(disk.unsupportedReason === '' ? {} : { unsupportedReason: disk.unsupportedReason }),
    })),
  };
}
