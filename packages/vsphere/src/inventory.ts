import { printable, SendenseError } from '@sendense/core';
import { virtualDisks } from './disks.js';
import { flattenSnapshots } from './snapshot-tree.js';
import { isFault } from './soap/fault.js';
import { value, type ManagedObject } from './soap/markup.js';
import { readBoolean, readReference, readText } from './soap/values.js';
import type { VirtualMachine, VirtualMachineFilter } from './types.js';
import type { VimClient } from './vim/client.js';
import { retrieveInventory, retrieveProperties, type ObjectProperties } from './vim/properties.js';

const VM_PROPERTIES = [
  'name',
  'config.template',
  'config.instanceUuid',
  'config.version',
  'config.guestFullName',
  'config.changeTrackingEnabled',
  'config.hardware.device',
  'capability.changeTrackingSupported',
  'runtime.host',
  'runtime.powerState',
  'runtime.connectionState',
  'guest.toolsRunningStatus',
  'snapshot',
];

export function virtualMachine(moref: string): ManagedObject {
  return { type: 'VirtualMachine', value: moref };
}

/** The VMs that match every part of the filter, in the order of their names. */
export async function listVirtualMachines(
  client: VimClient,
  filter: VirtualMachineFilter,
): Promise<VirtualMachine[]> {
  const candidates = await findCandidates(client, filter);
  const found =
    candidates === undefined
      ? readable(client, await retrieveInventory(client, 'VirtualMachine', VM_PROPERTIES))
      : (await Promise.all(candidates.map(async (vm) => propertiesIfThere(client, vm)))).flat();
  const complete = found.filter((vm) => {
    if (readBoolean(vm.get('config.template'))) return false;
    const lost = vm.get('config.instanceUuid') === undefined;
    if (lost && candidates !== undefined) throw inaccessible(vm);
    return !lost;
  });
  const hostNames = await namesOfHosts(client, complete);
  return complete
    .map((vm) => describe(vm, hostNames))
    .filter((vm) => matches(vm, filter))
    .sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : a.moref < b.moref ? -1 : 1));
}

/** An account may see VMs that it may not read: one of them must not hide all the others. */
function readable(client: VimClient, objects: readonly ObjectProperties[]): ObjectProperties[] {
  return objects.filter(({ object, failure }) => {
    if (failure)
      client.log.warn({ vmMoref: object.value, error: failure.message }, 'left out a VM that cannot be read');
    return failure === undefined;
  });
}

/** The VMs to look at when the filter says which; undefined when it could be any. */
async function findCandidates(
  client: VimClient,
  filter: VirtualMachineFilter,
): Promise<ManagedObject[] | undefined> {
  if (filter.moref !== undefined) return [virtualMachine(filter.moref)];
  if (filter.inventoryPath !== undefined) {
    const path = filter.inventoryPath.replace(/^\/+/, '');
    return searchIndex(client, 'FindByInventoryPath', [value('inventoryPath', path)]);
  }
  if (filter.instanceUuid !== undefined) {
    return searchIndex(client, 'FindByUuid', [
      value('uuid', filter.instanceUuid),
      value('vmSearch', true),
      value('instanceUuid', true),
    ]);
  }
  if (filter.name === undefined) return undefined;
  const names = await retrieveInventory(client, 'VirtualMachine', ['name', 'config.template']);
  return readable(client, names)
    .filter((vm) => nameOf(vm) === filter.name && !readBoolean(vm.get('config.template')))
    .map((vm) => vm.object);
}

/** The index has a method for each way to search, and every one of them answers with one object or none. */
async function searchIndex(
  client: VimClient,
  method: 'FindByInventoryPath' | 'FindByUuid',
  parameters: Parameters<VimClient['call']>[2],
): Promise<ManagedObject[]> {
  const [answer] = await client.call(method, client.service.searchIndex, parameters);
  const found = readReference(answer);
  return found?.type === 'VirtualMachine' ? [found] : [];
}

async function propertiesIfThere(client: VimClient, vm: ManagedObject): Promise<ObjectProperties[]> {
  try {
    return await retrieveProperties(client, [vm], VM_PROPERTIES);
  } catch (error) {
    if (isFault(error, 'ManagedObjectNotFound')) return [];
    throw error;
  }
}

/** Names by moref. A host that leaves the inventory meanwhile, or may not be read, has none. */
async function namesOfHosts(
  client: VimClient,
  vms: readonly ObjectProperties[],
): Promise<ReadonlyMap<string, string>> {
  const hosts = new Map(
    vms.flatMap((vm) => {
      const host = readReference(vm.get('runtime.host'));
      return host ? [[host.value, host] as const] : [];
    }),
  );
  try {
    const found = await retrieveProperties(client, [...hosts.values()], ['name']);
    const known = found.filter((host) => host.failure === undefined);
    return new Map(known.map((host) => [host.object.value, nameOf(host)]));
  } catch (error) {
    if (isFault(error, 'ManagedObjectNotFound', 'NoPermission')) return new Map();
    throw error;
  }
}

function describe(vm: ObjectProperties, hostNames: ReadonlyMap<string, string>): VirtualMachine {
  const text = (path: string) => readText(vm.get(path)) ?? '';
  const flag = (path: string) => readBoolean(vm.get(path)) ?? false;
  const hostMoref = readReference(vm.get('runtime.host'))?.value ?? '';
  return {
    moref: vm.object.value,
    instanceUuid: text('config.instanceUuid'),
    name: nameOf(vm),
    powerState: text('runtime.powerState'),
    toolsStatus: text('guest.toolsRunningStatus'),
    hostMoref,
    hostName: hostNames.get(hostMoref) ?? '',
    guestFullName: text('config.guestFullName'),
    changeTrackingSupported: flag('capability.changeTrackingSupported'),
    changeTrackingEnabled: flag('config.changeTrackingEnabled'),
    snapshotCount: flattenSnapshots(vm.get('snapshot')).length,
    disks: virtualDisks(vm.items('config.hardware.device')),
    hardwareVersion: text('config.version'),
  };
}

function matches(vm: VirtualMachine, filter: VirtualMachineFilter): boolean {
  return (
    (filter.moref ?? vm.moref) === vm.moref &&
    (filter.instanceUuid ?? vm.instanceUuid).toLowerCase() === vm.instanceUuid.toLowerCase() &&
    (filter.name ?? vm.name) === vm.name
  );
}

/** vSphere escapes three characters in the names of its objects (ManagedEntity.name): `/`, `\` and `%`. */
function nameOf(object: ObjectProperties): string {
  const escapes: Record<string, string> = { '%2f': '/', '%5c': '\\', '%25': '%' };
  return (readText(object.get('name')) ?? '').replace(/%(?:2f|5c|25)/gi, (escaped) => {
    return escapes[escaped.toLowerCase()] ?? escaped;
  });
}

function inaccessible(vm: ObjectProperties): SendenseError {
  const state = readText(vm.get('runtime.connectionState')) ?? 'unknown';
  return new SendenseError(
    'vm_not_found',
    `vCenter has lost the configuration of ${printable(nameOf(vm))} (${vm.object.value}, connection state ${state}): ` +
      'check its datastore, or register it again',
    { context: { vm: nameOf(vm), vm_moref: vm.object.value, connection_state: state } },
  );
}
