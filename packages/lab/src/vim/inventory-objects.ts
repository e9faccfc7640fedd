import {
  CLUSTER,
  DATACENTER,
  DATASTORE_FOLDER,
  HOST_FOLDER,
  NETWORK,
  NETWORK_FOLDER,
  RESOURCE_POOL,
  ROOT_FOLDER,
  VM_FOLDER,
} from '../model/inventory.js';
import type { LabState, PlaceState } from '../model/state.js';
import {
  boolean,
  enumeration,
  int,
  long,
  object,
  reference,
  references,
  text,
  texts,
  type Reference,
} from '../soap/value.js';
import type { ManagedObject } from './objects.js';

/** vSphere escapes what would end a name in an inventory path. */
export function inventoryName(name: string): string {
  return name.replace(/[%/\\]/g, (character) => `%${character.charCodeAt(0).toString(16)}`);
}

/** The inventory around the VMs: one datacenter with one cluster, and the folders, hosts and datastores that VMs named. */
export function inventoryObject(state: LabState, moref: string): ManagedObject | undefined {
  const fixed = fixedObject(state, moref);
  if (fixed) return fixed;
  const folder = state.folders.find((candidate) => candidate.moref === moref);
  if (folder) return vmFolder(state, moref, folder.name, reference('Folder', folder.parent));
  const host = state.hosts.find((candidate) => candidate.moref === moref);
  if (host) return hostSystem(state, host);
  const datastore = state.datastores.find((candidate) => candidate.moref === moref);
  return datastore && datastoreObject(state, datastore);
}

function fixedObject(state: LabState, moref: string): ManagedObject | undefined {
  const datacenter = reference('Datacenter', DATACENTER);
  switch (moref) {
    case ROOT_FOLDER:
      return folderObject(moref, 'Datacenters', undefined, ['Folder', 'Datacenter'], () => [datacenter]);
    case VM_FOLDER:
      return vmFolder(state, moref, 'vm', datacenter);
    case HOST_FOLDER:
      return folderObject(moref, 'host', datacenter, ['Folder', 'ComputeResource'], () => [
        reference('ClusterComputeResource', CLUSTER),
      ]);
    case DATASTORE_FOLDER:
      return folderObject(moref, 'datastore', datacenter, ['Folder', 'Datastore'], () => datastores(state));
    case NETWORK_FOLDER:
      return folderObject(moref, 'network', datacenter, ['Folder', 'Network'], () => [
        reference('Network', NETWORK),
      ]);
    case DATACENTER:
      return datacenterObject(state);
    case CLUSTER:
      return clusterObject(state);
    case RESOURCE_POOL:
      return resourcePool(state);
    case NETWORK:
      return networkObject(state);
    default:
      return undefined;
  }
}

const hosts = (state: LabState) => state.hosts.map((host) => reference('HostSystem', host.moref));
const datastores = (state: LabState) =>
  state.datastores.map((datastore) => reference('Datastore', datastore.moref));
const vms = (state: LabState, where: (vm: LabState['vms'][number]) => boolean = () => true) =>
  state.vms.filter((vm) => where(vm)).map((vm) => reference('VirtualMachine', vm.moref));

function folderObject(
  moref: string,
  name: string,
  parent: Reference | undefined,
  childTypes: readonly string[],
  children: () => Reference[],
): ManagedObject {
  return {
    type: 'Folder',
    moref,
    properties: {
      name: () => text(inventoryName(name)),
      parent: () => parent,
      childType: () => texts(childTypes),
      childEntity: () => references(children()),
    },
  };
}

function vmFolder(state: LabState, moref: string, name: string, parent: Reference): ManagedObject {
  return folderObject(moref, name, parent, ['Folder', 'VirtualMachine', 'VirtualApp'], () => [
    ...state.folders
      .filter((folder) => folder.parent === moref)
      .map((folder) => reference('Folder', folder.moref)),
    ...vms(state, (vm) => vm.folder === moref),
  ]);
}

function datacenterObject(state: LabState): ManagedObject {
  return {
    type: 'Datacenter',
    moref: DATACENTER,
    properties: {
      name: () => text('DC0'),
      parent: () => reference('Folder', ROOT_FOLDER),
      vmFolder: () => reference('Folder', VM_FOLDER),
      hostFolder: () => reference('Folder', HOST_FOLDER),
      datastoreFolder: () => reference('Folder', DATASTORE_FOLDER),
      networkFolder: () => reference('Folder', NETWORK_FOLDER),
      datastore: () => references(datastores(state)),
      network: () => references([reference('Network', NETWORK)]),
    },
  };
}

function clusterObject(state: LabState): ManagedObject {
  return {
    type: 'ClusterComputeResource',
    moref: CLUSTER,
    properties: {
      name: () => text('Cluster0'),
      parent: () => reference('Folder', HOST_FOLDER),
      resourcePool: () => reference('ResourcePool', RESOURCE_POOL),
      host: () => references(hosts(state)),
      datastore: () => references(datastores(state)),
      network: () => references([reference('Network', NETWORK)]),
    },
  };
}

function resourcePool(state: LabState): ManagedObject {
  return {
    type: 'ResourcePool',
    moref: RESOURCE_POOL,
    properties: {
      name: () => text('Resources'),
      parent: () => reference('ClusterComputeResource', CLUSTER),
      owner: () => reference('ClusterComputeResource', CLUSTER),
      resourcePool: () => references([]),
      vm: () => references(vms(state)),
    },
  };
}

function networkObject(state: LabState): ManagedObject {
  return {
    type: 'Network',
    moref: NETWORK,
    properties: {
      name: () => text('VM Network'),
      parent: () => reference('Folder', NETWORK_FOLDER),
      host: () => references(hosts(state)),
      vm: () => references(vms(state)),
    },
  };
}

function hostSystem(state: LabState, { moref, name }: PlaceState): ManagedObject {
  const runtime = () =>
    object('HostRuntimeInfo', {
      connectionState: enumeration('HostSystemConnectionState', 'connected'),
      powerState: enumeration('HostSystemPowerState', 'poweredOn'),
      inMaintenanceMode: boolean(false),
    });
  return {
    type: 'HostSystem',
    moref,
    properties: {
      name: () => text(inventoryName(name)),
      parent: () => reference('ClusterComputeResource', CLUSTER),
      runtime,
      summary: () =>
        object('HostListSummary', {
          host: reference('HostSystem', moref),
          hardware: object('HostHardwareSummary', {
            vendor: text('Sendense'),
            model: text('Lab'),
            uuid: text(
              `${state.instanceUuid.slice(0, -4)}${moref.replace(/\D/g, '').padStart(4, '0').slice(-4)}`,
            ),
            memorySize: long(2 ** 38),
            cpuModel: text('simulated'),
            cpuMhz: int(2400),
            numCpuPkgs: int(2),
            numCpuCores: int(32),
            numCpuThreads: int(64),
            numNics: int(2),
            numHBAs: int(1),
          }),
          runtime: runtime(),
          config: object('HostConfigSummary', {
            name: text(name),
            port: int(443),
            faultToleranceEnabled: boolean(false),
          }),
          overallStatus: enumeration('ManagedEntityStatus', 'green'),
          rebootRequired: boolean(false),
        }),
      vm: () => references(vms(state, (vm) => vm.host === name)),
      datastore: () => references(datastores(state)),
      network: () => references([reference('Network', NETWORK)]),
    },
  };
}

function datastoreObject(state: LabState, { moref, name }: PlaceState): ManagedObject {
  return {
    type: 'Datastore',
    moref,
    properties: {
      name: () => text(inventoryName(name)),
      parent: () => reference('Folder', DATASTORE_FOLDER),
      summary: () =>
        object('DatastoreSummary', {
          datastore: reference('Datastore', moref),
          name: text(name),
          url: text(`ds:///vmfs/volumes/${moref}/`),
          capacity: long(2 ** 44),
          freeSpace: long(2 ** 43),
          accessible: boolean(true),
          multipleHostAccess: boolean(true),
          type: text('VMFS'),
          maintenanceMode: text('normal'),
        }),
      vm: () => references(vms(state, (vm) => vm.datastore === name)),
    },
  };
}
