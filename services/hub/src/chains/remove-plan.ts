import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { planMerge, SendenseError, type MergePlan } from '@sendense/core';
import type { UsableRepository } from '../runs/dependencies.js';
import type { Manifest, ManifestDisk, ManifestRemoval } from '../runs/manifest.js';
import type { DiskMerge } from './merge-disk.js';

/** A disk of a point that is removed, with what stands on its image. */
interface DiskWithChildren {
  readonly disk: ManifestDisk;
  readonly children: readonly { readonly pointId: string; readonly disk: ManifestDisk }[];
}

/** The disks of a point whose images others stand on. A chain is linear, but a clock that went back may have branched it. */
export function disksWithChildren(point: Manifest, others: readonly Manifest[]): DiskWithChildren[] {
  return point.disks.flatMap((disk) => {
    const children = others.flatMap(({ backup_id: pointId, disks }) =>
      disks
        .filter(({ parent }) => parent?.backup_id === point.backup_id && parent.image === disk.image)
        .map((child) => ({ pointId, disk: child })),
    );
    return children.length === 0 ? [] : [{ disk, children }];
  });
}

/**
 * How a point is taken out of its chain, the cheaper way for each disk. An image that several points stand on can only be
 * pulled into each of them.
 *
 * @throws `repository_full` before anything is changed, when the merged data would not fit
 */
export async function planRemoval(
  point: Manifest,
  others: readonly Manifest[],
  repository: UsableRepository,
): Promise<ManifestRemoval> {
  const freeBytes = await repository.availableBytes();
  const merges: ManifestRemoval['merges'] = [];
  const needs: MergePlan[] = [];
  for (const { disk, children } of disksWithChildren(point, others)) {
    const parentStoredBytes = await storedBytes(repository.path, disk.image);
    for (const child of children) {
      const childBytes = await storedBytes(repository.path, child.disk.image);
      const plan = planMerge({
        parentStoredBytes,
        // The others need the image as it is, so pulling has to be the cheaper way.
        childStoredBytes: children.length > 1 ? Math.max(childBytes, parentStoredBytes + 1) : childBytes,
        parentIsFull: disk.backup_type === 'full',
        freeBytes,
      });
      needs.push(plan);
      const { method, bytesToCopy: bytes } = plan;
      merges.push({ disk_number: disk.disk_number, child_id: child.pointId, method, bytes });
    }
  }
  requireRoom(point, needs, freeBytes, repository);
  return { irreversible: false, merges };
}

/**
 * What was pulled stands twice until the point's images go; a commit gives the child's image back before the next begins.
 */
function requireRoom(
  { backup_id }: Manifest,
  needs: readonly MergePlan[],
  freeBytes: number,
  repository: UsableRepository,
): void {
  const pulled = needs.filter(({ method }) => method === 'pull');
  const committed = needs.filter(({ method }) => method === 'commit');
  const needed =
    pulled.reduce((sum, { bytesNeeded }) => sum + bytesNeeded, 0) +
    Math.max(0, ...committed.map(({ bytesNeeded }) => bytesNeeded));
  if (needed <= freeBytes) return;
  throw new SendenseError(
    'repository_full',
    `removing ${backup_id} moves data that later points need, for which up to ${mebibytes(needed)} MiB must be free in repository ${repository.id} (${repository.path}), and ${mebibytes(freeBytes)} MiB are: free space there, or remove later points first`,
    {
      context: {
        repository_id: repository.id,
        path: repository.path,
        needed_bytes: needed,
        available_bytes: freeBytes,
      },
    },
  );
}

/**
 * The merges with their paths. One whose child is done already (its manifest names another parent) is not among them.
 */
export function diskMerges(
  repositoryPath: string,
  point: Manifest,
  others: readonly Manifest[],
  { merges }: ManifestRemoval,
): (DiskMerge & { readonly bytes: number })[] {
  const at = (path: string) => join(repositoryPath, path);
  return disksWithChildren(point, others).flatMap(({ disk, children }) =>
    children.map((child) => {
      const planned = merges.find(
        ({ disk_number, child_id }) => disk_number === disk.disk_number && child_id === child.pointId,
      );
      if (!planned)
        throw new SendenseError(
          'chain_damaged',
          `${child.pointId} stands on disk ${disk.disk_number} of ${point.backup_id}, whose removal was begun without it: verify ${child.pointId}`,
          { context: { restore_point_id: child.pointId, disk_number: disk.disk_number } },
        );
      return {
        method: planned.method,
        bytes: planned.bytes,
        diskNumber: disk.disk_number,
        sizeBytes: disk.capacity_bytes,
        parent: { image: at(disk.image), hashes: at(disk.hashes) },
        child: { pointId: child.pointId, image: at(child.disk.image), hashes: at(child.disk.hashes) },
        base: disk.parent ? at(disk.parent.image) : undefined,
      };
    }),
  );
}

/** What a file occupies. */
export async function storedBytes(repositoryPath: string, path: string): Promise<number> {
  try {
    return (await stat(join(repositoryPath, path))).blocks * 512;
  } catch (error) {
    throw new SendenseError(
      'chain_damaged',
      `${path} cannot be read: verify the restore points of this VM before any of them is removed`,
      { context: { path }, cause: error },
    );
  }
}

function mebibytes(bytes: number): number {
  return Math.ceil(bytes / 2 ** 20);
}
