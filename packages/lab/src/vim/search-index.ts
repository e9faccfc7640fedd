import { DATACENTER, ROOT_FOLDER } from '../model/inventory.js';
import { list, reference, references, type Reference, type Value } from '../soap/value.js';
import { flag, requiredReference, requiredText } from '../soap/arguments.js';
import type { Call, Methods } from './call.js';
import { propertyAt, requireObject, type ManagedObject, type ObjectSource } from './objects.js';

/** The properties through which an inventory path goes, level by level. */
const CHILDREN: Record<string, readonly string[]> = {
  Folder: ['childEntity'],
  Datacenter: ['vmFolder', 'hostFolder', 'datastoreFolder', 'networkFolder'],
  ClusterComputeResource: ['host', 'resourcePool'],
};

function childNamed(source: ObjectSource, parent: ManagedObject, name: string): ManagedObject | undefined {
  for (const path of CHILDREN[parent.type] ?? []) {
    const value = propertyAt(parent, path);
    for (const item of value?.kind === 'list' ? value.items : [value]) {
      const found = item?.kind === 'reference' ? source.find(item.moref) : undefined;
      const itsName = found && propertyAt(found, 'name');
      // Names are shown escaped (a slash as %2f); vCenter takes either case of the digits.
      if (itsName?.kind === 'scalar' && sameName(itsName.text, name)) return found;
    }
  }
  return undefined;
}

function sameName(a: string, b: string): boolean {
  const lower = (name: string) => name.replace(/%[0-9a-f]{2}/gi, (escape) => escape.toLowerCase());
  return lower(a) === lower(b);
}

function found(object: ManagedObject | undefined): Reference | undefined {
  return object && reference(object.type, object.moref);
}

function byUuid(call: Call): Reference[] {
  const uuid = requiredText(call.arguments, 'uuid').trim().toLowerCase();
  const instance = flag(call.arguments, 'instanceUuid') ?? false;
  if (!flag(call.arguments, 'vmSearch')) return [];
  return call.service.context.state.vms
    .filter((vm) => (instance ? vm.instanceUuid : vm.biosUuid) === uuid)
    .map((vm) => reference('VirtualMachine', vm.moref));
}

export const searchIndexMethods: Methods = {
  FindByInventoryPath: async (call) => {
    const source = call.service.objects(call.session);
    let at = source.find(ROOT_FOLDER);
    for (const name of requiredText(call.arguments, 'inventoryPath').split('/')) {
      if (name !== '') at = at && childNamed(source, at, name);
    }
    return found(at);
  },

  FindChild: async (call) => {
    const source = call.service.objects(call.session);
    const parent = requireObject(source, requiredReference(call.arguments, 'entity'));
    return found(childNamed(source, parent, requiredText(call.arguments, 'name')));
  },

  FindByUuid: async (call): Promise<Value | undefined> => byUuid(call)[0],
  FindAllByUuid: async (call) => references(byUuid(call)),
  FindByDatastorePath: async (call) => {
    const path = requiredText(call.arguments, 'path');
    if (requiredReference(call.arguments, 'datacenter').moref !== DATACENTER) return undefined;
    const vm = call.service.context.state.vms.find(
      ({ datastore, directory }) => `[${datastore}] ${directory}/${directory}.vmx` === path,
    );
    return vm && reference('VirtualMachine', vm.moref);
  },
  // The lab's guests have no network.
  FindByIp: async () => undefined,
  FindByDnsName: async () => undefined,
  FindAllByIp: async () => list('ManagedObjectReference', []),
  FindAllByDnsName: async () => list('ManagedObjectReference', []),
};
