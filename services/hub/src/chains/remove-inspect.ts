import type { Catalog, RestorePointRecord } from '@sendense/catalog';
import { SendenseError, toSendenseError } from '@sendense/core';
import type { QemuImg } from '@sendense/qemu';
import type { Manifest } from '../runs/manifest.js';
import { isThere, mergeState, type DiskMerge } from './merge-disk.js';
import { listManifests, type ManifestFolder, type UnreadableManifest } from './remove-manifests.js';

/**
 * What the catalogue alone can tell. See {@link inspectChildren} for the rules.
 * @throws `restore_point_held` · `restore_point_suspect`
 */
export async function requireRemovable(
  point: RestorePointRecord,
  { restorePoints }: Pick<Catalog, 'restorePoints'>,
): Promise<void> {
  if (point.heldAt)
    throw new SendenseError(
      'restore_point_held',
      `${point.id} is held (${point.holdReason ?? ''}): release it first with 'sendense restore-point release ${point.id}'`,
      { context: { restore_point_id: point.id } },
    );
  const children = await restorePoints.children(point.id);
  refuseDoubt(point, children);
}

/**
 * The manifests of the points that stand on this one, when it may be removed. The rules:
 *
 * - a point that nothing stands on may always be removed, damaged or suspect as it may be;
 * - one that others stand on is merged into them, and a merge neither reads nor writes what is in doubt: whether it or one
 *   of those is suspect, the later points have to be removed first, from the newest backwards.
 *
 * @throws `restore_point_suspect` · `chain_busy` while a backup on it is being published · `chain_damaged`
 */
export async function inspectChildren(
  point: RestorePointRecord,
  own: Manifest | undefined,
  folder: ManifestFolder,
  { restorePoints }: Pick<Catalog, 'restorePoints'>,
): Promise<Manifest[]> {
  const { sealed, publishing, unreadable } = await listManifests(folder);
  const known = await restorePoints.children(point.id);
  const unfinished = publishing.find((manifest) => standsOn(manifest, point.id));
  if (unfinished)
    throw new SendenseError(
      'chain_busy',
      `${unfinished.backup_id}, which stands on ${point.id}, is still being published: remove ${point.id} when that has ended`,
      { context: { restore_point_id: point.id, holders: unfinished.backup_id }, retryable: true },
    );
  const children = sealed.filter((manifest) => standsOn(manifest, point.id));
  const others = unreadable.filter(({ pointId }) => pointId !== point.id);
  refuseUnknown(point, known, children, others);
  if (children.length === 0) return [];
  if (!own)
    throw damaged(point.id, `the manifest of ${point.id} cannot be read, and ${listed(known)} stands on it`);
  refuseDoubt(point, known);
  return children;
}

/** What the manifests say of a disk's parent must be true before anything is changed. @throws `chain_damaged` */
export async function inspectImages(
  point: Manifest,
  merges: readonly DiskMerge[],
  images: QemuImg,
): Promise<void> {
  for (const merge of merges) {
    for (const path of [merge.parent.hashes, merge.child.hashes])
      if (!(await isThere(path))) throw damaged(point.backup_id, `${path} is not there`);
    if ((await mergeState(merge, images)) === 'merged')
      throw damaged(
        point.backup_id,
        `${merge.child.image} does not stand on ${merge.parent.image}, as the manifest of ${merge.child.pointId} says`,
      );
    const { backingPath } = await images.info(merge.parent.image);
    if (backingPath !== merge.base)
      throw damaged(
        point.backup_id,
        `${merge.parent.image} stands on ${backingPath ?? 'nothing'} and its manifest says ${merge.base ?? 'nothing'}`,
      );
  }
}

function standsOn(manifest: Manifest, pointId: string): boolean {
  return manifest.disks.some(({ parent }) => parent?.backup_id === pointId);
}

/** What stands on the point must be known for certain: one that was forgotten would lose its data. */
function refuseUnknown(
  point: RestorePointRecord,
  known: readonly RestorePointRecord[],
  children: readonly Manifest[],
  unreadable: readonly UnreadableManifest[],
): void {
  const [first] = unreadable;
  if (first)
    throw damaged(
      point.id,
      `the manifest ${first.path} cannot be read, so that nobody knows whether it stands on ${point.id} (${toSendenseError(first.error).message}). If it is none of this hub's, or lost for good, move it out of the repository and remove ${point.id} again`,
    );
  const lost = known.filter(({ id }) => !children.some(({ backup_id }) => backup_id === id));
  if (lost.length > 0)
    throw damaged(
      point.id,
      `${listed(lost)} stands on ${point.id}, and no manifest in the repository says so`,
    );
}

function refuseDoubt(point: RestorePointRecord, children: readonly RestorePointRecord[]): void {
  const suspect = [point, ...children].find((record) => record.suspect);
  if (!suspect || children.length === 0) return;
  // One finding says enough; all of them are at the point itself.
  const [finding] = suspect.suspectReason?.split('\n') ?? [];
  const why = finding === undefined ? '' : ` (${finding})`;
  throw new SendenseError(
    'restore_point_suspect',
    `${suspect.id} is suspect${why}, and removing ${point.id} would merge it with ${listed(children)}: verify ${suspect.id} again, or remove the later points first, the newest before the others`,
    { context: { restore_point_id: point.id, suspect_point_id: suspect.id } },
  );
}

function damaged(pointId: string, what: string): SendenseError {
  return new SendenseError(
    'chain_damaged',
    `${pointId} cannot be removed: ${what}. Verify the restore points of this VM, and rescan the repository`,
    { context: { restore_point_id: pointId } },
  );
}

function listed(points: readonly RestorePointRecord[]): string {
  return points.map(({ id }) => id).join(', ');
}
