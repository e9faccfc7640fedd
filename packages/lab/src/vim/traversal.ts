import { invalidArgument } from '../soap/fault.js';
import type { Reference, Value } from '../soap/value.js';
import { children, type XmlElement } from '../soap/xml.js';
import { flag, optionalText, requiredReference, requiredText, texts } from '../soap/arguments.js';
import { isA, propertyAt, requireObject, type ManagedObject, type ObjectSource } from './objects.js';

/** Which properties of which types a client wants. */
interface PropertySpec {
  readonly type: string;
  readonly all: boolean;
  readonly paths: readonly string[];
}

/** A step from objects of a type along one of their properties. */
interface Step {
  readonly type: string;
  readonly path: string;
  readonly skip: boolean;
  readonly next: readonly Selection[];
}

/** A step, or the name of one that stands elsewhere in the same specification. */
type Selection = { readonly named: string } | { readonly step: Step };

interface ObjectSpec {
  readonly root: Reference;
  readonly skip: boolean;
  readonly selections: readonly Selection[];
}

/** A PropertyFilterSpec: where to start, where to go, what to tell. */
export interface FilterSpec {
  readonly properties: readonly PropertySpec[];
  readonly objects: readonly ObjectSpec[];
  readonly named: ReadonlyMap<string, Step>;
  readonly tolerateMissing: boolean;
}

/** @throws VimFault InvalidArgument */
export function readFilterSpec(element: XmlElement): FilterSpec {
  const named = new Map<string, Step>();
  const readSelection = (selection: XmlElement): Selection => {
    const name = optionalText(selection, 'name');
    if (optionalText(selection, 'path') === undefined) {
      if (name === undefined) throw invalidArgument('selectSet');
      return { named: name };
    }
    const step: Step = {
      type: requiredText(selection, 'type').trim(),
      path: requiredText(selection, 'path').trim(),
      skip: flag(selection, 'skip') ?? false,
      next: children(selection, 'selectSet').map((next) => readSelection(next)),
    };
    if (name !== undefined) named.set(name, step);
    return { step };
  };
  return {
    properties: children(element, 'propSet').map((property) => ({
      type: requiredText(property, 'type').trim(),
      all: flag(property, 'all') ?? false,
      paths: texts(property, 'pathSet').map((path) => path.trim()),
    })),
    objects: children(element, 'objectSet').map((object) => ({
      root: requiredReference(object, 'obj'),
      skip: flag(object, 'skip') ?? false,
      selections: children(object, 'selectSet').map((selection) => readSelection(selection)),
    })),
    named,
    tolerateMissing: flag(element, 'reportMissingObjectsInResults') ?? false,
  };
}

/** What a specification finds of one object: the values of its paths, those that are set. */
export interface Found {
  readonly object: ManagedObject;
  readonly properties: ReadonlyMap<string, Value>;
}

/**
 * Walks the inventory as the specification says.
 * @throws VimFault ManagedObjectNotFound · InvalidProperty
 */
export function retrieve(source: ObjectSource, spec: FilterSpec): Found[] {
  const found = new Map<string, Found>();
  for (const { root, skip, selections } of spec.objects) {
    const start = spec.tolerateMissing ? source.find(root.moref) : requireObject(source, root);
    if (!start) continue;
    const visited = new Set<string>();
    const visit = (object: ManagedObject, skipped: boolean, next: readonly Selection[]): void => {
      if (!skipped) tell(spec, object, found);
      for (const selection of next) {
        const step = 'step' in selection ? selection.step : spec.named.get(selection.named);
        if (!step) throw invalidArgument('selectSet.name');
        const key = `${object.moref} ${step.type} ${step.path}`;
        if (!isA(object.type, step.type) || visited.has(key)) continue;
        visited.add(key);
        for (const target of referencesIn(propertyAt(object, step.path))) {
          const reached = source.find(target.moref);
          if (reached) visit(reached, step.skip, step.next);
        }
      }
    };
    visit(start, skip, selections);
  }
  return [...found.values()];
}

function referencesIn(value: Value | undefined): Reference[] {
  if (value?.kind === 'reference') return [value];
  return value?.kind === 'list' ? value.items.flatMap((item) => referencesIn(item)) : [];
}

function tell(spec: FilterSpec, object: ManagedObject, found: Map<string, Found>): void {
  if (found.has(object.moref)) return;
  const wanted = spec.properties.filter(({ type }) => isA(object.type, type));
  if (wanted.length === 0) return;
  const paths = new Set(
    wanted.flatMap(({ all, paths: listed }) => (all ? Object.keys(object.properties) : listed)),
  );
  const properties = new Map<string, Value>();
  for (const path of paths) {
    const value = propertyAt(object, path);
    if (value) properties.set(path, value);
  }
  found.set(object.moref, { object, properties });
}
