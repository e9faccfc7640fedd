import type { VmRecord } from '@sendense/catalog';
import type { VirtualMachine } from '@sendense/contracts';
import { Type, type Static } from 'typebox';
import { textFormat } from '../api/validation.js';
import { Bytes, Exactly, Id, Name, NextCursor, Nullable, pageQuery, Time } from './fields.js';

const UnsupportedReason = Nullable(
  Type.String({ description: 'why it cannot be in a snapshot: `independent`, `physical_rdm`, `shared`' }),
);

export const DiscoveredVm = Type.Object(
  {
    moref: Type.String({ examples: ['vm-57'] }),
    name: Type.String(),
    instance_uuid: Type.String(),
    power_state: Type.String(),
    tools_status: Type.String(),
    host_name: Type.String(),
    guest_full_name: Type.String(),
    hardware_version: Type.String(),
    change_tracking_supported: Type.Boolean(),
    change_tracking_enabled: Type.Boolean(),
    snapshot_count: Type.Integer({ description: "snapshots that exist now, ours and others'" }),
    disks: Type.Array(
      Type.Object({
        disk_key: Type.Integer({ description: "vSphere's device key" }),
        label: Type.String(),
        capacity_bytes: Bytes('size of the disk'),
        backing_file: Type.String(),
        datastore: Type.String(),
        thin_provisioned: Type.Boolean(),
        unsupported_reason: UnsupportedReason,
      }),
    ),
    context_id: Nullable(Type.String({ description: 'set when it is protected' })),
  },
  { title: 'DiscoveredVm' },
);

export const ProtectedVm = Type.Object(
  {
    context_id: Type.String({ examples: ['ctx-pgtest1-20261121-084316'] }),
    vm_name: Type.String(),
    vcenter_id: Nullable(Type.String({ description: 'null when its credentials were removed' })),
    node_name: Nullable(Type.String()),
    moref: Type.String(),
    instance_uuid: Type.String(),
    power_state: Type.String(),
    host_name: Type.String(),
    guest_full_name: Type.String(),
    disks: Type.Array(
      Type.Object({
        disk_id: Type.String(),
        disk_number: Type.Integer({ description: 'the n of `disk-<n>`; belongs to this disk for ever' }),
        disk_key: Type.Integer(),
        label: Type.String(),
        capacity_bytes: Bytes('size of the disk'),
        backing_uuid: Type.String(),
        backing_file: Type.String(),
        datastore: Type.String(),
        unsupported_reason: UnsupportedReason,
      }),
    ),
    change_tracking: Type.Object(
      {
        state: Type.Enum(['enabled', 'unavailable', 'unknown']),
        detail: Type.String({ description: 'what was found or done, in words' }),
      },
      { description: 'changed block tracking, without which every backup is a full, as it was last seen' },
    ),
    created_at: Time('when it was put under protection'),
    updated_at: Time('when its inventory was last taken over'),
  },
  { title: 'ProtectedVm' },
);

export const NewProtectedVm = Exactly(
  {
    vcenter_id: Id('where it is'),
    vm_name: Type.Optional(Name('its name there; give the moref when several share it')),
    moref: Type.Optional(Type.String({ minLength: 1, maxLength: 200, ...textFormat, examples: ['vm-57'] })),
  },
  'NewProtectedVm',
);

export const VmsQuery = Exactly({
  ...pageQuery,
  name: Type.Optional(Name('only VMs of exactly this name')),
  vcenter_id: Type.Optional(Id('only VMs of this vCenter')),
});

export const VmPage = Type.Object({ vms: Type.Array(ProtectedVm), next_cursor: NextCursor });

export function discoveredVmView(
  vm: VirtualMachine,
  contextId: string | undefined,
): Static<typeof DiscoveredVm> {
  return {
    moref: vm.moref,
    name: vm.name,
    instance_uuid: vm.instanceUuid,
    power_state: vm.powerState,
    tools_status: vm.toolsStatus,
    host_name: vm.hostName,
    guest_full_name: vm.guestFullName,
    hardware_version: vm.hardwareVersion,
    change_tracking_supported: vm.changeTrackingSupported,
    change_tracking_enabled: vm.changeTrackingEnabled,
    snapshot_count: vm.snapshotCount,
    disks: vm.disks.map((disk) => ({
      disk_key: disk.key,
      label: disk.label,
      capacity_bytes: Number(disk.capacityBytes),
      backing_file: disk.backingFile,
      datastore: disk.datastore,
      thin_provisioned: disk.thinProvisioned,
      unsupported_reason: disk.unsupportedReason || null,
    })),
    context_id: contextId ?? null,
  };
}

export function protectedVmView(vm: VmRecord): Static<typeof ProtectedVm> {
  return {
    context_id: vm.contextId,
    vm_name: vm.name,
    vcenter_id: vm.vcenterId ?? null,
    node_name: vm.nodeName ?? null,
    moref: vm.moref,
    instance_uuid: vm.instanceUuid,
    power_state: vm.powerState,
    host_name: vm.hostName,
    guest_full_name: vm.guestFullName,
    disks: vm.disks.map((disk) => ({
      disk_id: disk.diskId,
      disk_number: disk.diskNumber,
      disk_key: disk.diskKey,
      label: disk.label,
      capacity_bytes: disk.capacityBytes,
      backing_uuid: disk.backingUuid,
      backing_file: disk.backingFile,
      datastore: disk.datastore,
      unsupported_reason: disk.unsupportedReason ?? null,
    })),
    change_tracking: { ...vm.changeTracking },
    created_at: vm.createdAt.toISOString(),
    updated_at: vm.updatedAt.toISOString(),
  };
}
