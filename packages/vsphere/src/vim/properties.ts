import type { SendenseError } from '@sendense/core';
import { dataObject, reference, value, type ManagedObject, type Markup } from '../soap/markup.js';
import { required, readReference, readText } from '../soap/values.js';
import type { XmlElement } from '../soap/xml.js';
import { isFault, readMethodFault } from '../soap/fault.js';
import type { Send, VimClient } from './client.js';

/** Objects in one page: a VM with many disks and snapshots has some 100 KiB of properties. */
const OBJECTS_PER_PAGE = 100;

/** The properties of one object that were asked for. */
export class ObjectProperties {
  constructor(
    readonly object: ManagedObject,
    private readonly values: ReadonlyMap<string, XmlElement>,
    private readonly failures: ReadonlyMap<string, SendenseError>,
  ) {}

  /** Undefined when it is unset. @throws `vcenter_fault` when it may not be read, which is not the same */
  get(path: string): XmlElement | undefined {
    const failure = this.failures.get(path);
    if (failure) throw failure;
    return this.values.get(path);
  }

  /** The items of a property that is an array; empty when it is unset. @throws as {@link get} */
  items(path: string): readonly XmlElement[] {
    return this.get(path)?.children ?? [];
  }

  /** Why some property may not be read. */
  get failure(): SendenseError | undefined {
    return this.failures.values().next().value;
  }
}

/**
 * Properties of objects whose morefs are known.
 * @throws `vcenter_fault` ManagedObjectNotFound when one of them is gone
 */
export async function retrieveProperties(
  client: VimClient,
  objects: readonly ManagedObject[],
  paths: readonly string[],
  signal?: AbortSignal,
): Promise<ObjectProperties[]> {
  const type = objects[0]?.type;
  if (type === undefined) return [];
  const spec = filterSpec(
    'specSet',
    type,
    paths,
    objects.map((object) => dataObject('objectSet', [reference('obj', object), value('skip', false)])),
  );
  return client.withinSession(async (send) => retrievePages(client, send, spec, signal), signal);
}

/** Properties of the one object, which must exist. @throws as {@link retrieveProperties} */
export async function retrieveObject(
  client: VimClient,
  object: ManagedObject,
  paths: readonly string[],
  signal?: AbortSignal,
): Promise<ObjectProperties> {
  const [found] = await retrieveProperties(client, [object], paths, signal);
  return required(found, `the properties of ${object.value}`);
}

/** Properties of all objects of a type, wherever in the inventory they are. */
export async function retrieveInventory(
  client: VimClient,
  type: string,
  paths: readonly string[],
  signal?: AbortSignal,
): Promise<ObjectProperties[]> {
  const { viewManager, rootFolder } = client.service;
  return client.withinSession(async (send) => {
    const [created] = await send('CreateContainerView', viewManager, [
      reference('container', rootFolder),
      value('type', type),
      value('recursive', true),
    ]);
    const view = required(readReference(created), 'the new view');
    const traversal = dataObject(
      'selectSet',
      [value('name', 'view'), value('type', view.type), value('path', 'view'), value('skip', false)],
      'TraversalSpec',
    );
    const start = dataObject('objectSet', [reference('obj', view), value('skip', true), traversal]);
    const found = await retrievePages(client, send, filterSpec('specSet', type, paths, [start]), signal);
    // After a failure the view goes with the session: vCenter may be what failed.
    await quietly(client, send('DestroyView', view));
    return found;
  }, signal);
}

/** What the property collector is to look at: the schema's order is propSet, objectSet. */
export function filterSpec(
  name: string,
  type: string,
  paths: readonly string[],
  objectSet: readonly Markup[],
): Markup {
  const fields = [value('type', type), value('all', false), ...paths.map((path) => value('pathSet', path))];
  return dataObject(name, [dataObject('propSet', fields), ...objectSet]);
}

async function retrievePages(
  client: VimClient,
  send: Send,
  spec: Markup,
  signal: AbortSignal | undefined,
): Promise<ObjectProperties[]> {
  const { propertyCollector } = client.service;
  const options = signal ? { signal } : {};
  const page = dataObject('options', [value('maxObjects', OBJECTS_PER_PAGE)]);
  const found: ObjectProperties[] = [];
  let [result] = await send('RetrievePropertiesEx', propertyCollector, [spec, page], options);
  while (result) {
    for (const object of result.all('objects')) found.push(readObject(client, object));
    const token = readText(result.child('token'));
    if (!token) break;
    [result] = await send(
      'ContinueRetrievePropertiesEx',
      propertyCollector,
      [value('token', token)],
      options,
    );
  }
  return found;
}

function readObject(client: VimClient, content: XmlElement): ObjectProperties {
  const object = required(readReference(content.child('obj')), 'the object that properties belong to');
  const name = (element: XmlElement, of: string) =>
    required(readText(element.child(of)), 'the name of a property');
  const values = content.all('propSet').flatMap((property) => {
    const val = property.child('val');
    return val ? [[name(property, 'name'), val] as const] : [];
  });
  const failures = content.all('missingSet').map((missing) => {
    const path = name(missing, 'path');
    const fault = readMethodFault(required(missing.child('fault'), `the reason why ${path} is missing`));
    const failure = client.faultError(fault, `reading ${path} of ${object.value}`);
    // A session that ends while properties are collected shows only here: taken for unset, a VM would have no snapshots.
    if (isFault(failure, 'NotAuthenticated')) throw failure;
    return [path, failure] as const;
  });
  return new ObjectProperties(object, new Map(values), new Map(failures));
}

/** For giving back what vCenter forgets with the session anyway. */
export async function quietly(client: VimClient, releasing: Promise<unknown>): Promise<void> {
  try {
    await releasing;
  } catch (error) {
    if (isFault(error, 'NotAuthenticated', 'ManagedObjectNotFound')) return;
    client.log.debug(
      { endpoint: client.endpoint, error: String(error) },
      'could not release an object of vCenter',
    );
  }
}
