import { join } from 'node:path';
import type { Catalog, RestorePointRecord } from '@sendense/catalog';
import type { UsableRepository } from '../runs/index.js';
import { isThere } from './merge-disk.js';
import { mergedPoints } from './remove-files.js';
import type { ContextFiles } from './rescan-files.js';

/**
 * A catalogue that is older than the repository (a backup of it was put back) knows points that were removed since. The
 * manifests of the points that took their data over say so: the catalogue follows them. One that is held there stays, and
 * is reported as missing.
 *
 * @param known all points of the VM, newest first: what merged into one that went later comes after it
 * @returns the ids of the points that the catalogue knows no more
 */
export async function forgetMerged(
  { manifests, removing }: ContextFiles,
  known: readonly RestorePointRecord[],
  { catalog, repository }: { readonly catalog: Catalog; readonly repository: UsableRepository },
): Promise<string[]> {
  const merged = new Set(
    [...manifests.values()].flatMap(({ disks }) =>
      disks.flatMap((disk) => (disk.merged ?? []).map(({ backup_id }) => backup_id)),
    ),
  );
  const forgotten: string[] = [];
  for (const { id, contextId, state, heldAt, disks } of known) {
    if (!merged.has(id) || manifests.has(id) || removing.has(id)) continue;
    if (state !== 'sealed' || heldAt !== undefined) continue;
    const images = disks.map(({ imagePath }) => isThere(join(repository.path, imagePath)));
    if ((await Promise.all(images)).some(Boolean)) continue;
    const children = await catalog.restorePoints.children(id);
    if (children.some((child) => !manifests.has(child.id))) continue;
    const folder = { repositoryPath: repository.path, contextId };
    const heirs = await mergedPoints(folder, id, catalog);
    if (heirs.some(({ disks: now }) => now.some(({ parentPointId }) => parentPointId === id))) continue;
    await catalog.restorePoints.beginRemoval(id);
    await catalog.restorePoints.concludeRemoval(id, heirs);
    forgotten.push(id);
  }
  return forgotten;
}
