import { access } from 'node:fs/promises';
import { join } from 'node:path';
import type { Catalog, RestorePointRecord } from '@sendense/catalog';
import type { PreviousDisk, PreviousPoint } from '@sendense/core';
import { diskChains, type DiskChain } from '../chains/structure.js';
import type { UsableRepository } from './dependencies.js';
import type { BackupRequest } from './types.js';

/**
 * What an incremental would build on: the newest sealed point, suspect or not. What it consists of counts as well: a disk is
 * in doubt when any point of its chain is, since an image shows what those below it hold.
 *
 * @param repository looked at for images that have gone; without one nothing is missing
 */
export async function previousPoint(
  { restorePoints }: Pick<Catalog, 'restorePoints'>,
  { contextId, repositoryId }: Pick<BackupRequest, 'contextId' | 'repositoryId'>,
  repository?: UsableRepository,
): Promise<PreviousPoint | undefined> {
  const point = await restorePoints.latest(contextId, repositoryId);
  if (!point) return undefined;
  const points = new Map((await restorePoints.chain(point.id)).map((one) => [one.id, one]));
  const disks: PreviousDisk[] = [];
  for (const chain of diskChains(point, [...points.values()])) {
    const disk = point.disks.find(({ diskNumber }) => diskNumber === chain.diskNumber);
    if (!disk) continue;
    disks.push({
      number: disk.diskNumber,
      key: disk.diskKey,
      backingUuid: disk.backingUuid,
      capacityBytes: disk.capacityBytes,
      changeId: disk.changeId,
      imagePath: disk.imagePath,
      lastBytesRead: lastBytesRead(chain, points),
      missing: repository !== undefined && (await isIncomplete(chain, points, repository)),
      suspect: chain.images.some(({ pointId }) => points.get(pointId)?.suspect),
    });
  }
  return { id: point.id, disks };
}

function lastBytesRead(
  { images, diskNumber }: DiskChain,
  points: ReadonlyMap<string, RestorePointRecord>,
): PreviousDisk['lastBytesRead'] {
  const read: { full?: number; incremental?: number } = {};
  for (const { pointId } of images) {
    const disk = points.get(pointId)?.disks.find((one) => one.diskNumber === diskNumber);
    if (disk) read[disk.backupType] ??= disk.bytesRead;
  }
  return read;
}

/** The image of a point whose removal is not finished may be merged already, and is missed by nobody then. */
async function isIncomplete(
  { images, missingParent }: DiskChain,
  points: ReadonlyMap<string, RestorePointRecord>,
  repository: UsableRepository,
): Promise<boolean> {
  if (missingParent !== undefined) return true;
  const paths = images
    .filter(({ pointId }) => points.get(pointId)?.state !== 'removing')
    .map(({ imagePath }) => join(repository.path, imagePath));
  return (await Promise.all(paths.map(isMissing))).some(Boolean);
}

function isMissing(path: string): Promise<boolean> {
  return access(path).then(
    () => false,
    () => true,
  );
}
