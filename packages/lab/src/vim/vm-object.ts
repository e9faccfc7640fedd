import { NETWORK, RESOURCE_POOL } from '../model/inventory.js';
import type { LabState, SnapshotState, VmState } from '../model/state.js';
import { consolidationNeeded } from '../model/vmdks.js';
import {
  boolean,
  enumeration,
  int,
  list,
  object,
  reference,
  references,
  text,
  time,
  type Reference,
  type Value,
} from '../soap/value.js';
import { inventoryName } from './inventory-objects.js';
import type { ManagedObject } from './objects.js';
import { describeDevices } from './vm-devices.js';

const GUEST_ID = 'debian12_64Guest';
const GUEST_NAME = 'Debian GNU/Linux 12 (64-bit)';
const green = enumeration('ManagedEntityStatus', 'green');

export function vmObject(
  state: LabState,
  vm: VmState,
  recentTasks: () => readonly Reference[],
): ManagedObject {
  const config = () => describeConfig(state, vm, vm.disks);
  return {
    type: 'VirtualMachine',
    moref: vm.moref,
    properties: {
      name: () => text(inventoryName(vm.name)),
      parent: () => reference('Folder', vm.folder),
      overallStatus: () => green,
      recentTask: () => references(recentTasks()),
      capability: () => describeCapability(vm),
      config,
      resourcePool: () => (vm.template ? undefined : reference('ResourcePool', RESOURCE_POOL)),
      runtime: () => describeRuntime(state, vm),
      guest: () => describeGuest(vm),
      summary: () => describeSummary(state, vm),
      datastore: () => references(datastoresOf(state, vm)),
      network: () => references([reference('Network', NETWORK)]),
      snapshot: () => describeSnapshots(vm),
    },
  };
}

export function snapshotObject(state: LabState, vm: VmState, snapshot: SnapshotState): ManagedObject {
  return {
    type: 'VirtualMachineSnapshot',
    moref: snapshot.moref,
    properties: {
      config: () =>
        describeConfig(
          state,
          vm,
          [...snapshot.disks, ...snapshot.otherDisks].sort((a, b) => a.key - b.key),
        ),
      childSnapshot: () =>
        references(
          vm.snapshots
            .filter(({ parent }) => parent === snapshot.moref)
            .map((child) => snapshotReference(child)),
        ),
      vm: () => reference('VirtualMachine', vm.moref),
    },
  };
}

function snapshotReference(snapshot: SnapshotState): Reference {
  return reference('VirtualMachineSnapshot', snapshot.moref);
}

function datastoresOf(state: LabState, vm: VmState): Reference[] {
  return state.datastores
    .filter(({ name }) => name === vm.datastore)
    .map(({ moref }) => reference('Datastore', moref));
}

function vmPathName(vm: VmState): string {
  return `[${vm.datastore}] ${vm.directory}/${vm.directory}.vmx`;
}

function describeConfig(state: LabState, vm: VmState, disks: Parameters<typeof describeDevices>[2]): Value {
  return object('VirtualMachineConfigInfo', {
    changeVersion: text(vm.changeVersion),
    // What vCenter answers always.
    modified: time('1970-01-01T00:00:00Z'),
    name: text(inventoryName(vm.name)),
    guestFullName: text(GUEST_NAME),
    version: text(vm.hardwareVersion),
    uuid: text(vm.biosUuid),
    instanceUuid: text(vm.instanceUuid),
    template: boolean(vm.template),
    guestId: text(GUEST_ID),
    alternateGuestName: text(''),
    annotation: text(''),
    files: object('VirtualMachineFileInfo', {
      vmPathName: text(vmPathName(vm)),
      snapshotDirectory: text(`[${vm.datastore}] ${vm.directory}/`),
      suspendDirectory: text(`[${vm.datastore}] ${vm.directory}/`),
      logDirectory: text(`[${vm.datastore}] ${vm.directory}/`),
    }),
    flags: object('VirtualMachineFlagInfo', {
      enableLogging: boolean(true),
      diskUuidEnabled: boolean(false),
    }),
    defaultPowerOps: object('VirtualMachineDefaultPowerOpInfo', { powerOffType: text('soft') }),
    hardware: object('VirtualHardware', {
      numCPU: int(2),
      numCoresPerSocket: int(1),
      memoryMB: int(4096),
      virtualICH7MPresent: boolean(false),
      virtualSMCPresent: boolean(false),
      device: list('VirtualDevice', describeDevices(state, vm, disks)),
    }),
    changeTrackingEnabled: boolean(vm.changeTrackingEnabled),
    firmware: text('bios'),
  });
}

function describeCapability(vm: VmState): Value {
  return object('VirtualMachineCapability', {
    snapshotOperationsSupported: boolean(true),
    multipleSnapshotsSupported: boolean(true),
    snapshotConfigSupported: boolean(true),
    poweredOffSnapshotsSupported: boolean(true),
    memorySnapshotsSupported: boolean(true),
    revertToSnapshotSupported: boolean(true),
    quiescedSnapshotsSupported: boolean(vm.tools !== 'notInstalled'),
    disableSnapshotsSupported: boolean(false),
    lockSnapshotsSupported: boolean(false),
    changeTrackingSupported: boolean(vm.changeTrackingSupported),
  });
}

function describeRuntime(state: LabState, vm: VmState): Value {
  const host = state.hosts.find(({ name }) => name === vm.host);
  return object('VirtualMachineRuntimeInfo', {
    host: host && reference('HostSystem', host.moref),
    connectionState: enumeration('VirtualMachineConnectionState', 'connected'),
    powerState: enumeration('VirtualMachinePowerState', vm.powerState),
    faultToleranceState: enumeration('VirtualMachineFaultToleranceState', 'notConfigured'),
    toolsInstallerMounted: boolean(false),
    numMksConnections: int(0),
    recordReplayState: enumeration('VirtualMachineRecordReplayState', 'inactive'),
    onlineStandby: boolean(false),
    consolidationNeeded: boolean(consolidationNeeded(vm)),
  });
}

function toolsFields(vm: VmState): Record<string, Value> {
  const running = vm.tools === 'running' && vm.powerState === 'poweredOn';
  const installed = vm.tools !== 'notInstalled';
  const stopped = installed ? 'toolsNotRunning' : 'toolsNotInstalled';
  return {
    toolsStatus: enumeration('VirtualMachineToolsStatus', running ? 'toolsOk' : stopped),
    toolsVersionStatus: text(installed ? 'guestToolsUnmanaged' : 'guestToolsNotInstalled'),
    toolsVersionStatus2: text(installed ? 'guestToolsUnmanaged' : 'guestToolsNotInstalled'),
    toolsRunningStatus: text(running ? 'guestToolsRunning' : 'guestToolsNotRunning'),
  };
}

function describeGuest(vm: VmState): Value {
  const running = vm.powerState === 'poweredOn';
  return object('GuestInfo', {
    ...toolsFields(vm),
    toolsVersion: text(vm.tools === 'notInstalled' ? '0' : '12389'),
    guestId: text(GUEST_ID),
    guestFamily: text('linuxGuest'),
    guestFullName: text(GUEST_NAME),
    guestState: text(running ? 'running' : 'notRunning'),
  });
}

function describeSummary(state: LabState, vm: VmState): Value {
  return object('VirtualMachineSummary', {
    vm: reference('VirtualMachine', vm.moref),
    runtime: describeRuntime(state, vm),
    guest: object('VirtualMachineGuestSummary', {
      guestId: text(GUEST_ID),
      guestFullName: text(GUEST_NAME),
      ...toolsFields(vm),
    }),
    config: object('VirtualMachineConfigSummary', {
      name: text(inventoryName(vm.name)),
      template: boolean(vm.template),
      vmPathName: text(vmPathName(vm)),
      memorySizeMB: int(4096),
      numCpu: int(2),
      numEthernetCards: int(1),
      numVirtualDisks: int(vm.disks.length),
      uuid: text(vm.biosUuid),
      instanceUuid: text(vm.instanceUuid),
      guestId: text(GUEST_ID),
      guestFullName: text(GUEST_NAME),
      annotation: text(''),
    }),
    quickStats: object('VirtualMachineQuickStats', { guestHeartbeatStatus: green }),
    overallStatus: green,
  });
}

function describeSnapshots(vm: VmState): Value | undefined {
  const current = vm.snapshots.find(({ moref }) => moref === vm.currentSnapshot);
  if (vm.snapshots.length === 0) return undefined;
  return object('VirtualMachineSnapshotInfo', {
    currentSnapshot: current && snapshotReference(current),
    rootSnapshotList: list('VirtualMachineSnapshotTree', snapshotTrees(vm, undefined)),
  });
}

function snapshotTrees(vm: VmState, parent: string | undefined): Value[] {
  return vm.snapshots
    .filter((snapshot) => snapshot.parent === parent)
    .map((snapshot) =>
      object('VirtualMachineSnapshotTree', {
        snapshot: snapshotReference(snapshot),
        vm: reference('VirtualMachine', vm.moref),
        name: text(snapshot.name),
        description: text(snapshot.description),
        id: int(snapshot.id),
        createTime: time(snapshot.createdAt),
        state: enumeration('VirtualMachinePowerState', snapshot.powerState),
        quiesced: boolean(snapshot.quiesced),
        childSnapshotList: list('VirtualMachineSnapshotTree', snapshotTrees(vm, snapshot.moref)),
        replaySupported: boolean(false),
      }),
    );
}
