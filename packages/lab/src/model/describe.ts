import type { LabDisk, LabSnapshot, LabVm } from '../types.js';
import { changeIdOf } from './ids.js';
import { folderPath } from './inventory.js';
import type { DiskState, LabState, SnapshotDiskState, SnapshotState, VmState } from './state.js';
import { consolidationNeeded } from './vmdks.js';

/** As the lab's own API and commands show it. */
export function describeVm(state: LabState, vm: VmState): LabVm {
  return {
    moref: vm.moref,
    name: vm.name,
    instanceUuid: vm.instanceUuid,
    powerState: vm.powerState,
    tools: vm.tools,
    host: vm.host,
    datastore: vm.datastore,
    folder: folderPath(state, vm.folder),
    changeTrackingSupported: vm.changeTrackingSupported,
    changeTrackingEnabled: vm.changeTrackingEnabled,
    consolidationNeeded: consolidationNeeded(vm),
    disks: vm.disks.map((disk) => describeDisk(disk)),
  };
}

export function describeDisk(disk: DiskState | SnapshotDiskState): LabDisk {
  const changeId = 'changeId' in disk ? disk.changeId : disk.tracking && changeIdOf(disk.tracking);
  return {
    key: disk.key,
    label: disk.label,
    sizeBytes: disk.sizeBytes,
    controllerKey: disk.controllerKey,
    unitNumber: disk.unitNumber,
    uuid: disk.uuid,
    fileName: disk.fileName,
    thin: disk.thin,
    mode: disk.mode,
    backing: disk.backing,
    multiWriter: disk.multiWriter,
    busShared: disk.busShared,
    ...(changeId === undefined ? {} : { changeId }),
  };
}

export function describeSnapshot(snapshot: SnapshotState): LabSnapshot {
  return {
    moref: snapshot.moref,
    name: snapshot.name,
    description: snapshot.description,
    createdAt: new Date(snapshot.createdAt),
    quiesced: snapshot.quiesced,
    ...(snapshot.parent === undefined ? {} : { parent: snapshot.parent }),
    disks: snapshot.disks.map((disk) => describeDisk(disk)),
  };
}
