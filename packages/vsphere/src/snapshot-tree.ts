import { readBoolean, readDate, readReference, readText, required } from './soap/values.js';
import type { XmlElement } from './soap/xml.js';
import type { Snapshot } from './types.js';

export interface TreeSnapshot extends Snapshot {
  readonly quiesced: boolean;
}

/** Every snapshot of a VM's `snapshot` property, parents before children. */
export function flattenSnapshots(info: XmlElement | undefined): TreeSnapshot[] {
  const found: TreeSnapshot[] = [];
  const visit = (node: XmlElement) => {
    found.push({
      moref: required(readReference(node.child('snapshot')), 'the reference of a snapshot').value,
      name: readText(node.child('name')) ?? '',
      description: readText(node.child('description')) ?? '',
      createdAt: readDate(node.child('createTime')) ?? new Date(0),
      quiesced: readBoolean(node.child('quiesced')) ?? false,
    });
    node.all('childSnapshotList').forEach(visit);
  };
  info?.all('rootSnapshotList').forEach(visit);
  return found;
}
