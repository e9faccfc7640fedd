import { invalidProperty, objectNotFound } from '../soap/fault.js';
import { reference, type Reference, type Value } from '../soap/value.js';

/** A managed object as clients see it: a reference, and properties that are computed when they are asked for. */
export interface ManagedObject {
  readonly type: string;
  readonly moref: string;
  readonly properties: Readonly<Record<string, () => Value | undefined>>;
}

export function referenceTo(object: Pick<ManagedObject, 'type' | 'moref'>): Reference {
  return reference(object.type, object.moref);
}

/** Which types a type inherits from, as far as specifications name them. */
const BASES: Record<string, readonly string[]> = {
  Folder: ['ManagedEntity', 'ExtensibleManagedObject'],
  Datacenter: ['ManagedEntity', 'ExtensibleManagedObject'],
  ClusterComputeResource: ['ComputeResource', 'ManagedEntity', 'ExtensibleManagedObject'],
  HostSystem: ['ManagedEntity', 'ExtensibleManagedObject'],
  ResourcePool: ['ManagedEntity', 'ExtensibleManagedObject'],
  Datastore: ['ManagedEntity', 'ExtensibleManagedObject'],
  Network: ['ManagedEntity', 'ExtensibleManagedObject'],
  VirtualMachine: ['ManagedEntity', 'ExtensibleManagedObject'],
  VirtualMachineSnapshot: ['ExtensibleManagedObject'],
  Task: ['ExtensibleManagedObject'],
  ContainerView: ['ManagedObjectView', 'View'],
};

export function isA(type: string, wanted: string): boolean {
  return wanted === type || wanted === 'ManagedObject' || (BASES[type]?.includes(wanted) ?? false);
}

/** Properties that the schema declares and the lab never sets. Asking for any other name is a client's mistake. */
const UNSET: Record<string, readonly string[]> = {
  ManagedEntity: [
    'customValue',
    'configIssue',
    'effectiveRole',
    'permission',
    'disabledMethod',
    'declaredAlarmState',
    'triggeredAlarmState',
    'alarmActionsEnabled',
    'tag',
    'value',
    'availableField',
    'overallStatus',
    'configStatus',
    'recentTask',
  ],
  VirtualMachine: [
    'layout',
    'layoutEx',
    'storage',
    'environmentBrowser',
    'parentVApp',
    'resourceConfig',
    'rootSnapshot',
    'snapshot',
    'guestHeartbeatStatus',
  ],
  VirtualMachineSnapshot: ['value', 'availableField'],
  HostSystem: [
    'hardware',
    'capability',
    'config',
    'configManager',
    'systemResources',
    'datastoreBrowser',
    'licensableResource',
  ],
  Datastore: ['browser', 'iormConfiguration', 'host', 'info', 'capability'],
  Datacenter: ['configuration'],
  ClusterComputeResource: [
    'configuration',
    'configurationEx',
    'environmentBrowser',
    'summary',
    'recommendation',
  ],
  ResourcePool: ['config', 'runtime', 'summary', 'childConfiguration'],
  Task: ['value', 'availableField'],
};

/**
 * The value at a path such as `config.hardware.device[2000].backing`; undefined when it is not set.
 * @throws VimFault InvalidProperty for a name that the object's type does not have
 */
export function propertyAt(object: ManagedObject, path: string): Value | undefined {
  const [name, ...rest] = path.split('.');
  const [first, key] = splitKey(name ?? '');
  const property = Object.hasOwn(object.properties, first) ? object.properties[first] : undefined;
  if (!property) {
    const unset = [object.type, ...(BASES[object.type] ?? [])].some((type) => UNSET[type]?.includes(first));
    if (unset) return undefined;
    throw invalidProperty(path);
  }
  let value = pick(property(), key);
  for (const part of rest) {
    const [field, fieldKey] = splitKey(part);
    if (value?.kind === 'list') throw invalidProperty(path);
    value = pick(value?.kind === 'object' ? value.fields[field] : undefined, fieldKey);
  }
  return value;
}

function splitKey(part: string): [string, string | undefined] {
  const match = /^(\w+)\["?([^"\]]*)"?\]$/.exec(part);
  return match ? [match[1] ?? '', match[2]] : [part, undefined];
}

/** `device[2000]` is the item of a list whose field `key` is 2000. */
function pick(value: Value | undefined, key: string | undefined): Value | undefined {
  if (key === undefined || value?.kind !== 'list') return value;
  return value.items.find((item) => {
    const field = item.kind === 'object' ? item.fields['key'] : undefined;
    return field?.kind === 'scalar' && field.text === key;
  });
}

/** Finds managed objects by their moref. */
export interface ObjectSource {
  find(moref: string): ManagedObject | undefined;
}

/** @throws VimFault ManagedObjectNotFound */
export function requireObject(source: ObjectSource, target: Reference): ManagedObject {
  const found = source.find(target.moref);
  if (!found) throw objectNotFound(target.type, target.moref);
  return found;
}
