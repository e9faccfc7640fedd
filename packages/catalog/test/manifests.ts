// Restore points as manifests describe them, for tests that need a chain and not a backup.
import type { ImportedDisk, ImportedPoint } from '../src/index.js';
import { GIB } from './stage.js';

export interface PointSketch {
  readonly contextId?: string;
  readonly vmName?: string;
  /** By disk: what it builds on, or nothing for a full. @default one full disk */
  readonly parents?: readonly (string | undefined)[];
}

export const START = Date.UTC(2026, 10, 1, 3);
const DAY = 24 * 3600 * 1000;

/** The `n`th day's point, `p<n>`. */
export function sketch(repositoryId: string, n: number, o: PointSketch = {}): ImportedPoint {
  const { contextId = 'ctx-pg-20261101-000000', vmName = 'pg', parents = [undefined] } = o;
  const at = new Date(START + n * DAY);
  return {
    id: `p${n}`,
    contextId,
    repositoryId,
    vm: { name: vmName, instanceUuid: `5020-${vmName}`, moref: 'vm-57', guestFullName: 'Debian' },
    takenAt: at,
    sealedAt: at,
    quiesced: false,
    manifestPath: `${contextId}/manifests/p${n}.json`,
    disks: parents.map((parent, index) => sketchedDisk(contextId, `p${n}`, index, parent)),
  };
}

function sketchedDisk(contextId: string, id: string, n: number, parent: string | undefined): ImportedDisk {
  return {
    diskId: `${contextId}-disk${n}`,
    diskNumber: n,
    diskKey: 2000 + n,
    label: `Hard disk ${n + 1}`,
    backingUuid: `6000C29-${2000 + n}`,
    backingFile: `[ds1] pg/pg_${n}.vmdk`,
    capacityBytes: 10 * GIB,
    backupType: parent === undefined ? 'full' : 'incremental',
    reason: parent === undefined ? 'requested' : 'changed_blocks',
    imagePath: `${contextId}/disk-${n}/${id}.qcow2`,
    hashesPath: `${contextId}/disk-${n}/${id}.hashes`,
    changeId: `52 aa/${id}`,
    ...(parent === undefined ? {} : { parentPointId: parent }),
    bytesRead: GIB,
    storedBytes: GIB,
  };
}
