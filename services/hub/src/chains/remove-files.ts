import { rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Catalog, MergedPoint, RestorePointRecord } from '@sendense/catalog';
import { SendenseError } from '@sendense/core';
import { MAX_MERGED, type Manifest } from '../runs/manifest.js';
import { PARTIAL, removeEmptyFolders } from '../runs/run-files.js';
import {
  listManifests,
  readManifest,
  syncDirectoryIfThere,
  writeManifest,
  type ManifestFolder,
} from './remove-manifests.js';
import { storedBytes } from './remove-plan.js';

/** A child says by itself what it has become: what the removed point was, it is now, with that point's parent. */
export async function rewriteChild(
  folder: ManifestFolder,
  childId: string,
  removed: Manifest,
  mergedAt: Date,
): Promise<void> {
  const child = await readManifest(folder, childId);
  const disks: Manifest['disks'] = [];
  for (const disk of child.disks) {
    const taken = removed.disks.find(({ disk_number }) => disk_number === disk.disk_number);
    if (!taken || disk.parent?.backup_id !== removed.backup_id) {
      disks.push(disk);
      continue;
    }
    const { backup_id, taken_at } = removed;
    const own = { backup_id, taken_at, merged_at: mergedAt.toISOString() };
    disks.push({
      ...disk,
      backup_type: taken.backup_type,
      parent: taken.parent,
      stored_bytes: await storedBytes(folder.repositoryPath, disk.image),
      merged: [...(taken.merged ?? []), own, ...(disk.merged ?? [])].slice(-MAX_MERGED),
    });
  }
  await writeManifest(folder, { ...child, disks });
}

/** The images and hashes of a point that nothing stands on any more. @throws `chain_damaged` when something does */
export async function removePointFiles(
  folder: ManifestFolder,
  pointId: string,
  paths: readonly string[],
): Promise<void> {
  const { sealed } = await listManifests(folder);
  for (const { backup_id, disks } of sealed)
    if (backup_id !== pointId && disks.some(({ parent }) => parent && paths.includes(parent.image)))
      throw new SendenseError(
        'chain_damaged',
        `${backup_id} still stands on ${pointId}, whose files therefore stay: verify ${backup_id}`,
        { context: { restore_point_id: pointId, child_point_id: backup_id } },
      );
  const files = paths.map((path) => join(folder.repositoryPath, path));
  for (const path of files.flatMap((file) => [file, `${file}${PARTIAL}`])) await rm(path, { force: true });
  for (const directory of new Set(files.map((file) => dirname(file)))) {
    await syncDirectoryIfThere(directory);
    await removeEmptyFolders(directory, folder.repositoryPath);
  }
}

/** What the catalogue gets to know of the children of a point: what their manifests say by now. */
export async function mergedPoints(
  folder: ManifestFolder,
  pointId: string,
  { restorePoints }: Pick<Catalog, 'restorePoints'>,
): Promise<MergedPoint[]> {
  const children = await restorePoints.children(pointId);
  return Promise.all(children.map((child) => mergedPoint(folder, pointId, child)));
}

async function mergedPoint(
  folder: ManifestFolder,
  pointId: string,
  child: RestorePointRecord,
): Promise<MergedPoint> {
  const { disks } = await readManifest(folder, child.id);
  const numbers = child.disks.flatMap((disk) => (disk.parentPointId === pointId ? [disk.diskNumber] : []));
  return {
    pointId: child.id,
    type: disks.some(({ backup_type }) => backup_type === 'incremental') ? 'incremental' : 'full',
    disks: disks
      .filter(({ disk_number }) => numbers.includes(disk_number))
      .map(({ disk_number, backup_type, parent, stored_bytes }) => ({
        diskNumber: disk_number,
        backupType: backup_type,
        storedBytes: stored_bytes,
        ...(parent ? { parentPointId: parent.backup_id } : {}),
      })),
  };
}
