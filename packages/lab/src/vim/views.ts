import { objectNotFound } from '../soap/fault.js';
import { boolean, references, texts as textList, reference, type Reference } from '../soap/value.js';
import { flag, requiredReference, texts } from '../soap/arguments.js';
import type { Methods } from './call.js';
import {
  isA,
  propertyAt,
  referenceTo,
  requireObject,
  type ManagedObject,
  type ObjectSource,
} from './objects.js';

/** A ContainerView: it belongs to a session, and shows what is in the container at the moment of looking. */
export interface View {
  readonly moref: string;
  readonly container: Reference;
  readonly types: readonly string[];
  readonly recursive: boolean;
}

/** The properties that lead from a container to what is in it. */
const CONTENT: Record<string, readonly string[]> = {
  Folder: ['childEntity'],
  Datacenter: ['vmFolder', 'hostFolder', 'datastoreFolder', 'networkFolder'],
  ClusterComputeResource: ['host', 'resourcePool'],
  ResourcePool: ['vm', 'resourcePool'],
};

export function viewObject(source: ObjectSource, view: View): ManagedObject {
  return {
    type: 'ContainerView',
    moref: view.moref,
    properties: {
      container: () => view.container,
      type: () => textList(view.types),
      recursive: () => boolean(view.recursive),
      view: () => references(contentOf(source, view)),
    },
  };
}

function contentOf(source: ObjectSource, view: View): Reference[] {
  const found = new Map<string, Reference>();
  const visit = (moref: string): void => {
    const container = source.find(moref);
    for (const path of CONTENT[container?.type ?? ''] ?? []) {
      const value = container && propertyAt(container, path);
      const items = value?.kind === 'list' ? value.items : [value];
      for (const item of items) {
        if (item?.kind !== 'reference' || found.has(item.moref)) continue;
        found.set(item.moref, item);
        if (view.recursive) visit(item.moref);
      }
    }
  };
  visit(view.container.moref);
  return [...found.values()].filter(
    ({ type }) => view.types.length === 0 || view.types.some((wanted) => isA(type, wanted)),
  );
}

export const viewManagerMethods: Methods = {
  CreateContainerView: async (call) => {
    const container = requiredReference(call.arguments, 'container');
    requireObject(call.service.objects(call.session), container);
    const view: View = {
      moref: call.service.newSessionObject(),
      container,
      types: texts(call.arguments, 'type').map((type) => type.trim()),
      recursive: flag(call.arguments, 'recursive') ?? false,
    };
    call.service.viewsOf(call.session).set(view.moref, view);
    return reference('ContainerView', view.moref);
  },
};

export const viewMethods: Methods = {
  DestroyView: async (call) => {
    if (!call.service.viewsOf(call.session).delete(call.target.moref)) {
      throw objectNotFound('ContainerView', call.target.moref);
    }
    return undefined;
  },
};

export function viewManagerObject(views: readonly View[]): ManagedObject {
  const shown = views.map(({ moref }) => referenceTo({ type: 'ContainerView', moref }));
  return { type: 'ViewManager', moref: 'ViewManager', properties: { viewList: () => references(shown) } };
}
