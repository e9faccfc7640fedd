import { access, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { SendenseError, systemErrorCode } from '@sendense/core';
import { mergeHashFiles } from '@sendense/nbd';
import type { QemuImg } from '@sendense/qemu';
import { renameDurably, syncDirectory, syncFile } from '@sendense/runtime';
import { PARTIAL } from '../runs/run-files.js';

/**
 * A disk's image of a point that is removed, and the one that stands on it and takes its data over. All paths are absolute.
 */
export interface DiskMerge {
  readonly method: 'commit' | 'pull';
  readonly diskNumber: number;
  readonly sizeBytes: number;
  /** Of the point that is removed. */
  readonly parent: ImageFiles;
  readonly child: ImageFiles & { readonly pointId: string };
  /** The parent's own backing file; undefined for a full. */
  readonly base: string | undefined;
}

export interface ImageFiles {
  readonly image: string;
  readonly hashes: string;
}

export interface MergeWork {
  readonly images: QemuImg;
  readonly signal: AbortSignal;
  /** 0 to 100 */
  readonly onProgress: (percent: number) => void;
}

/**
 * The child's hashes become those of both. They are right before and after the images are merged: they are those of what
 * the chain shows at the child. May be done again at any time while the parent's hashes are there.
 */
export async function mergeHashes(
  { parent, child, sizeBytes }: DiskMerge,
  signal: AbortSignal,
): Promise<void> {
  const partial = `${child.hashes}${PARTIAL}`;
  await rm(partial, { force: true });
  try {
    await mergeHashFiles([child.hashes, parent.hashes], partial, { sizeBytes, signal });
  } catch (error) {
    await rm(partial, { force: true });
    throw error;
  }
  await renameDurably(partial, child.hashes);
}

/** Where the images of a merge are: the child on the parent, or on what the parent stands on. */
export type MergeState = 'pending' | 'merged';

/** @throws `chain_damaged` when the child's image stands on neither, or its backing file is missing */
export async function mergeState(merge: DiskMerge, images: QemuImg): Promise<MergeState> {
  const { backingPath } = await images.info(merge.child.image);
  if (backingPath === merge.base) return 'merged';
  if (backingPath !== merge.parent.image)
    throw damaged(merge, `stands on ${backingPath ?? 'nothing'} and should stand on ${merge.parent.image}`);
  if (await isThere(merge.parent.image)) return 'pending';
  throw damaged(merge, `stands on ${merge.parent.image}, which is not there`);
}

/**
 * The parent's data goes into the child's image, which then stands on the parent's base. What the child shows is the same
 * at every moment, and the parent's image does not change: this can be interrupted, repeated, and taken back.
 */
export async function pull(merge: DiskMerge, { images, signal, onProgress }: MergeWork): Promise<void> {
  const { child, base } = merge;
  if ((await mergeState(merge, images)) === 'merged') return;
  const backing = base === undefined ? undefined : ({ path: base, format: 'qcow2' } as const);
  await images.rebase(child.image, { backing, unsafe: false, signal, onProgress });
  await proveAndSync(child.image, images);
}

/** What the child did not hold before a pull is the same in the parent: it only has to stand on it again. */
export async function takeBackPull(merge: DiskMerge, images: QemuImg): Promise<void> {
  await rm(`${merge.child.hashes}${PARTIAL}`, { force: true });
  if ((await mergeState(merge, images)) === 'pending') return;
  const backing = { path: merge.parent.image, format: 'qcow2' } as const;
  await images.rebase(merge.child.image, { backing, unsafe: true });
  await syncFile(merge.child.image);
}

/**
 * The child's data goes into the parent's image. What the child shows is the same at every moment, and its image does not
 * change: this can be interrupted and repeated, but the parent shows nothing any more.
 */
export async function commit(merge: DiskMerge, { images, signal, onProgress }: MergeWork): Promise<void> {
  if ((await mergeState(merge, images)) === 'merged') return;
  await images.commit(merge.child.image, { signal, onProgress });
  await proveAndSync(merge.parent.image, images);
}

/**
 * After {@link commit}: the parent's image, which holds everything now, takes the place of the child's. Whatever stands on
 * the child finds it under the same name.
 */
export async function replaceChild(merge: DiskMerge, images: QemuImg): Promise<void> {
  if ((await mergeState(merge, images)) === 'merged') return;
  await rename(merge.parent.image, merge.child.image);
  await syncDirectory(dirname(merge.child.image));
}

/** An interrupted run may have left clusters that nobody refers to. */
async function proveAndSync(image: string, images: QemuImg): Promise<void> {
  await images.repairLeaks(image);
  await images.check(image);
  await syncFile(image);
}

/** @throws any other reason why it cannot be seen */
export async function isThere(path: string): Promise<boolean> {
  try {
    await access(path);
    return true;
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return false;
    throw error;
  }
}

function damaged({ child, diskNumber }: DiskMerge, what: string): SendenseError {
  return new SendenseError(
    'chain_damaged',
    `the image ${child.image} of disk ${diskNumber} of ${child.pointId} ${what}: verify ${child.pointId}, and put the missing file back or remove the points that need it`,
    { context: { restore_point_id: child.pointId, disk_number: diskNumber, path: child.image } },
  );
}
