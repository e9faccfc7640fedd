import { required, readReference, readText } from '../soap/values.js';
import type { ManagedObject } from '../soap/markup.js';
import type { XmlElement } from '../soap/xml.js';
import type { AboutVSphere } from '../types.js';

/** The fixed object through which everything else of a vCenter or ESXi host is found. */
export const SERVICE_INSTANCE: ManagedObject = { type: 'ServiceInstance', value: 'ServiceInstance' };

/** The objects that the calls of this package start from. */
export interface ServiceContent {
  readonly about: AboutVSphere;
  readonly rootFolder: ManagedObject;
  readonly propertyCollector: ManagedObject;
  readonly viewManager: ManagedObject;
  readonly sessionManager: ManagedObject;
  readonly searchIndex: ManagedObject;
}

export function readServiceContent(content: XmlElement): ServiceContent {
  const object = (name: string) => required(readReference(content.child(name)), name);
  const about = (name: string) => readText(content.find('about', name)) ?? '';
  return {
    about: {
      product: about('name'),
      version: about('version'),
      apiVersion: about('apiVersion'),
      instanceUuid: about('instanceUuid'),
    },
    rootFolder: object('rootFolder'),
    propertyCollector: object('propertyCollector'),
    viewManager: object('viewManager'),
    sessionManager: object('sessionManager'),
    searchIndex: object('searchIndex'),
  };
}
