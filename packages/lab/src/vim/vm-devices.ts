import { controllerLabel } from '../model/devices.js';
import { changeIdOf } from '../model/ids.js';
import { NETWORK } from '../model/inventory.js';
import type { ControllerState, DiskState, LabState, SnapshotDiskState, VmState } from '../model/state.js';
import {
  boolean,
  int,
  long,
  object,
  reference,
  subtype,
  text,
  type Fields,
  type Value,
} from '../soap/value.js';

type AnyDisk = DiskState | SnapshotDiskState;

/** All devices of a VM, the disks as of now or as a snapshot froze them. */
export function describeDevices(state: LabState, vm: VmState, disks: readonly AnyDisk[]): Value[] {
  return [
    ...bareDevices(vm),
    ...vm.controllers
      .filter(({ kind }) => kind !== 'ide')
      .map((controller) => describeController(controller, disks)),
    ...disks.map((disk) => describeDisk(state, vm, disk)),
    ...cdrom(disks),
    networkCard(vm),
  ];
}

function deviceInfo(label: string, summary: string): Value {
  return object('Description', { label: text(label), summary: text(summary) });
}

function bareDevices(vm: VmState): Value[] {
  const device = (type: string, key: number, label: string, fields: Fields = {}) =>
    subtype(type, { key: int(key), deviceInfo: deviceInfo(label, label), ...fields });
  const bus = (number: number) => ({ busNumber: int(number) });
  return [
    device('VirtualIDEController', 200, 'IDE 0', bus(0)),
    device('VirtualIDEController', 201, 'IDE 1', bus(1)),
    device('VirtualPS2Controller', 300, 'PS2 controller 0', bus(0)),
    device('VirtualPCIController', 100, 'PCI controller 0', bus(0)),
    device('VirtualSIOController', 400, 'SIO controller 0', bus(0)),
    subtype('VirtualMachineVideoCard', {
      key: int(500),
      deviceInfo: deviceInfo('Video card ', 'Video card'),
      controllerKey: int(100),
      unitNumber: int(0),
      videoRamSizeInKB: long(8192),
    }),
    device('VirtualMachineVMCIDevice', 12_000, 'VMCI device', {
      controllerKey: int(100),
      unitNumber: int(17),
      id: long(Number.parseInt(vm.instanceUuid.slice(-6), 16)),
    }),
  ];
}

const CONTROLLER_TYPES = {
  ide: 'VirtualIDEController',
  scsi: 'ParaVirtualSCSIController',
  sata: 'VirtualAHCIController',
  nvme: 'VirtualNVMEController',
} as const;

function describeController(controller: ControllerState, disks: readonly AnyDisk[]): Value {
  const label = controllerLabel(controller);
  const scsi = {
    hotAddRemove: boolean(true),
    sharedBus: text(
      disks.some((disk) => disk.busShared && disk.controllerKey === controller.key)
        ? 'virtualSharing'
        : 'noSharing',
    ),
    scsiCtlrUnitNumber: int(7),
  };
  return subtype(CONTROLLER_TYPES[controller.kind], {
    key: int(controller.key),
    deviceInfo: deviceInfo(label, controller.kind === 'scsi' ? 'VMware paravirtual SCSI' : label),
    controllerKey: int(100),
    unitNumber: int(3 + controller.bus),
    busNumber: int(controller.bus),
    ...(controller.kind === 'scsi' ? scsi : {}),
  });
}

function describeDisk(state: LabState, vm: VmState, disk: AnyDisk): Value {
  const capacityInKB = Math.floor(disk.sizeBytes / 1024);
  return subtype('VirtualDisk', {
    key: int(disk.key),
    deviceInfo: deviceInfo(disk.label, `${capacityInKB.toLocaleString('en-US')} KB`),
    backing: describeBacking(state, vm, disk),
    controllerKey: int(disk.controllerKey),
    unitNumber: int(disk.unitNumber),
    capacityInKB: long(capacityInKB),
    capacityInBytes: long(disk.sizeBytes),
    diskObjectId: text(`${vm.moref.replace(/\D/g, '')}-${disk.key}`),
    nativeUnmanagedLinkedClone: boolean(false),
  });
}

function describeBacking(state: LabState, vm: VmState, disk: AnyDisk): Value {
  const changeId = 'changeId' in disk ? disk.changeId : disk.tracking && changeIdOf(disk.tracking);
  const contentId = text(disk.uuid.replaceAll('-', '').toLowerCase());
  const sharing = text(disk.multiWriter ? 'sharingMultiWriter' : 'sharingNone');
  if (disk.backing !== 'file') {
    return subtype('VirtualDiskRawDiskMappingVer1BackingInfo', {
      ...fileBacking(state, vm, disk.fileName),
      lunUuid: text(`02000000006000${disk.uuid.replaceAll('-', '').slice(8)}`),
      deviceName: text(`vml.02000000006000${disk.key}`),
      compatibilityMode: text(disk.backing === 'physical_rdm' ? 'physicalMode' : 'virtualMode'),
      // A physical mapping has no mode: the array decides.
      diskMode: disk.backing === 'physical_rdm' ? undefined : text(disk.mode),
      uuid: text(disk.uuid),
      contentId,
      changeId: changeId === undefined ? undefined : text(changeId),
      sharing,
    });
  }
  return subtype('VirtualDiskFlatVer2BackingInfo', {
    ...fileBacking(state, vm, disk.fileName),
    ...flatFields(disk),
    uuid: text(disk.uuid),
    contentId,
    changeId: changeId === undefined ? undefined : text(changeId),
    parent: describeParent(state, vm, disk, disk.fileName),
    digestEnabled: boolean(false),
    sharing,
  });
}

function fileBacking(state: LabState, vm: VmState, fileName: string): Fields {
  const datastore = state.datastores.find(({ name }) => name === vm.datastore);
  return {
    fileName: text(fileName),
    datastore: datastore && reference('Datastore', datastore.moref),
    backingObjectId: text(''),
  };
}

function flatFields(disk: AnyDisk): Fields {
  return {
    diskMode: text(disk.mode),
    split: boolean(false),
    writeThrough: boolean(false),
    thinProvisioned: boolean(disk.thin),
  };
}

/** The file that this one is a delta of, and so on down to the base. */
function describeParent(state: LabState, vm: VmState, disk: AnyDisk, fileName: string): Value | undefined {
  const parent = vm.vmdks[fileName]?.parent;
  if (parent === undefined) return undefined;
  return object('VirtualDiskFlatVer2BackingInfo', {
    ...fileBacking(state, vm, parent),
    ...flatFields(disk),
    uuid: text(disk.uuid),
    parent: describeParent(state, vm, disk, parent),
    digestEnabled: boolean(false),
    sharing: text('sharingNone'),
  });
}

function cdrom(disks: readonly AnyDisk[]): Value[] {
  const key = 3002;
  if (disks.some((disk) => disk.key === key)) return [];
  return [
    subtype('VirtualCdrom', {
      key: int(key),
      deviceInfo: deviceInfo('CD/DVD drive 1', 'Remote device'),
      backing: subtype('VirtualCdromRemotePassthroughBackingInfo', {
        deviceName: text(''),
        exclusive: boolean(false),
      }),
      controllerKey: int(201),
      unitNumber: int(0),
    }),
  ];
}

function networkCard(vm: VmState): Value {
  const octets = vm.instanceUuid.slice(-6).match(/../g)?.join(':') ?? '';
  return subtype('VirtualVmxnet3', {
    key: int(4000),
    deviceInfo: deviceInfo('Network adapter 1', 'VM Network'),
    backing: subtype('VirtualEthernetCardNetworkBackingInfo', {
      deviceName: text('VM Network'),
      network: reference('Network', NETWORK),
    }),
    controllerKey: int(100),
    unitNumber: int(7),
    addressType: text('assigned'),
    macAddress: text(`00:50:56:${octets}`),
    wakeOnLanEnabled: boolean(true),
  });
}
