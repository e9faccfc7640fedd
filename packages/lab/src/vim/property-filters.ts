import { VimFault, invalidArgument, objectNotFound } from '../soap/fault.js';
import { element } from '../soap/writer.js';
import {
  boolean,
  enumeration,
  list,
  object,
  reference,
  references,
  text,
  type Value,
} from '../soap/value.js';
import { child, type XmlElement } from '../soap/xml.js';
import { optionalText, wholeNumber } from '../soap/arguments.js';
import type { Call, Methods } from './call.js';
import { referenceTo, type ManagedObject, type ObjectSource } from './objects.js';
import { readFilterSpec, retrieve, type FilterSpec } from './traversal.js';

/** What a client was told last of one object: the values as XML, to see what differs. */
interface Told {
  readonly object: ManagedObject;
  readonly properties: ReadonlyMap<string, string>;
}

interface Filter {
  readonly moref: string;
  readonly spec: FilterSpec;
  told: ReadonlyMap<string, Told>;
}

/** A PropertyCollector: filters, and a version that counts what its client was told of them. */
export class Collector {
  readonly filters = new Map<string, Filter>();
  #version = 0;

  constructor(
    readonly moref: string,
    readonly session: string,
  ) {}

  get version(): string {
    return String(this.#version);
  }

  /** What has changed since the client was told last; undefined when nothing has. */
  update(source: ObjectSource): Value | undefined {
    const updates = [...this.filters.values()].flatMap((filter) => {
      const changes = updateFilter(source, filter);
      if (changes.length === 0) return [];
      const fields = {
        filter: reference('PropertyFilter', filter.moref),
        objectSet: list('ObjectUpdate', changes),
      };
      return [object('PropertyFilterUpdate', fields)];
    });
    if (updates.length === 0) return undefined;
    this.#version++;
    return object('UpdateSet', {
      version: text(this.version),
      filterSet: list('PropertyFilterUpdate', updates),
      truncated: boolean(false),
    });
  }

  /** The client starts anew: it knows nothing. */
  forget(): void {
    for (const filter of this.filters.values()) filter.told = new Map();
  }
}

function updateFilter(source: ObjectSource, filter: Filter): Value[] {
  const told = new Map<string, Told>();
  const updates: Value[] = [];
  for (const { object: found, properties } of retrieve(source, { ...filter.spec, tolerateMissing: true })) {
    const texts = new Map([...properties].map(([path, value]) => [path, element('val', value, true)]));
    told.set(found.moref, { object: found, properties: texts });
    const before = filter.told.get(found.moref)?.properties;
    const changed = [...properties].filter(([path]) => before?.get(path) !== texts.get(path));
    const changes = changed.map(([path, value]) => describeChange(path, value));
    for (const path of before?.keys() ?? [])
      if (!properties.has(path)) changes.push(describeChange(path, undefined));
    if (!before || changes.length > 0)
      updates.push(describeUpdate(before ? 'modify' : 'enter', found, changes));
  }
  for (const [moref, { object: gone }] of filter.told) {
    if (!told.has(moref)) updates.push(describeUpdate('leave', gone, []));
  }
  filter.told = told;
  return updates;
}

function describeChange(path: string, value: Value | undefined): Value {
  const op = enumeration('PropertyChangeOp', value ? 'assign' : 'indirectRemove');
  return object('PropertyChange', { name: text(path), op, val: value });
}

function describeUpdate(kind: 'enter' | 'modify' | 'leave', found: ManagedObject, changes: Value[]): Value {
  return object('ObjectUpdate', {
    kind: enumeration('ObjectUpdateKind', kind),
    obj: referenceTo(found),
    changeSet: list('PropertyChange', changes),
  });
}

function collectorOf(call: Call): Collector {
  const collector = call.service.collector(call.session, call.target.moref);
  if (!collector) throw objectNotFound(call.target.type, call.target.moref);
  return collector;
}

function checkVersion(collector: Collector, version: string | undefined): void {
  if (version === undefined || version === '') collector.forget();
  else if (version !== collector.version) {
    throw new VimFault(
      'InvalidCollectorVersion',
      `The collector is at version ${collector.version}, not ${version}.`,
    );
  }
}

/** Waits until there is something to tell, the time is over, or the client has hung up. */
async function waitForUpdates(call: Call, options: XmlElement | undefined): Promise<Value | undefined> {
  const collector = collectorOf(call);
  checkVersion(collector, optionalText(call.arguments, 'version'));
  const seconds = options && wholeNumber(options, 'maxWaitSeconds');
  if (seconds !== undefined && seconds < 0) throw invalidArgument('options.maxWaitSeconds');
  const end = seconds === undefined ? Number.POSITIVE_INFINITY : Date.now() + seconds * 1000;
  call.session.waiting++;
  try {
    for (;;) {
      const changed = call.service.changes.next();
      const update = collector.update(call.service.objects(call.session));
      const leftMs = end - Date.now();
      if (update || leftMs <= 0 || call.signal.aborted) return update;
      await changed.within(leftMs, call.signal);
    }
  } finally {
    call.session.waiting--;
    call.session.lastActive = new Date();
  }
}

export const filterMethods: Methods = {
  CreatePropertyCollector: async (call) =>
    reference('PropertyCollector', call.service.newCollector(call.session).moref),

  DestroyPropertyCollector: async (call) => {
    call.service.dropCollector(call.session, collectorOf(call));
    return undefined;
  },

  CreateFilter: async (call) => {
    const collector = collectorOf(call);
    const spec = child(call.arguments, 'spec');
    if (!spec) throw invalidArgument('spec');
    const filter: Filter = {
      moref: call.service.newSessionObject(),
      spec: readFilterSpec(spec),
      told: new Map(),
    };
    // A specification with a mistake is refused here, not when it is waited for.
    retrieve(call.service.objects(call.session), filter.spec);
    collector.filters.set(filter.moref, filter);
    return reference('PropertyFilter', filter.moref);
  },

  WaitForUpdatesEx: async (call) => waitForUpdates(call, child(call.arguments, 'options')),
  WaitForUpdates: async (call) => waitForUpdates(call, undefined),

  CheckForUpdates: async (call) => {
    const collector = collectorOf(call);
    checkVersion(collector, optionalText(call.arguments, 'version'));
    return collector.update(call.service.objects(call.session));
  },

  CancelWaitForUpdates: async () => undefined,
};

export const propertyFilterMethods: Methods = {
  DestroyPropertyFilter: async (call) => {
    for (const collector of call.service.collectorsOf(call.session)) {
      if (collector.filters.delete(call.target.moref)) return undefined;
    }
    throw objectNotFound('PropertyFilter', call.target.moref);
  },
};

/** The collector as an object with properties of its own. */
export function collectorObject(collector: Collector): ManagedObject {
  const filters = [...collector.filters.keys()].map((moref) => reference('PropertyFilter', moref));
  return {
    type: 'PropertyCollector',
    moref: collector.moref,
    properties: { filter: () => references(filters) },
  };
}
