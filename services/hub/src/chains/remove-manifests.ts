import { readdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { manifestPath, SendenseError, systemErrorCode, toSendenseError } from '@sendense/core';
import { syncDirectory, writeFileAtomically } from '@sendense/runtime';
import { readManifestText } from '../runs/manifest-file.js';
import { formatManifest, parseManifest, type Manifest } from '../runs/manifest.js';
import { PARTIAL, removeEmptyFolders } from '../runs/run-files.js';

/** The end of the name of the manifest of a point that is being removed: from then on it is no restore point. */
export const REMOVING = '.removing';

/** Where the manifests of a VM are. */
export interface ManifestFolder {
  /** Absolute. */
  readonly repositoryPath: string;
  readonly contextId: string;
}

export interface UnreadableManifest {
  readonly pointId: string;
  /** Absolute. */
  readonly path: string;
  readonly error: unknown;
}

/** A VM's manifests as they stand in the repository, by what they say of their points. */
export interface ManifestListing {
  readonly sealed: readonly Manifest[];
  /** Of backups that are being published. */
  readonly publishing: readonly Manifest[];
  readonly unreadable: readonly UnreadableManifest[];
}

/** Reads all of them, except those of points that are being removed. A folder that is missing holds none. */
export async function listManifests(folder: ManifestFolder): Promise<ManifestListing> {
  const sealed: Manifest[] = [];
  const publishing: Manifest[] = [];
  const unreadable: UnreadableManifest[] = [];
  for (const name of await namesIn(dirname(sealedPath(folder, 'any')))) {
    const found = /^([^.].*)\.json(\.partial)?$/.exec(name);
    const pointId = found?.[1];
    if (pointId === undefined) continue;
    const partial = found?.[2] === PARTIAL;
    const path = `${sealedPath(folder, pointId)}${partial ? PARTIAL : ''}`;
    try {
      const manifest = parseManifest(await readManifestText(path), path);
      (partial ? publishing : sealed).push(manifest);
    } catch (error) {
      unreadable.push({ pointId, path, error });
    }
  }
  return { sealed, publishing, unreadable };
}

/** @throws `manifest_invalid`; `chain_damaged` when it is not there */
export async function readManifest(folder: ManifestFolder, pointId: string): Promise<Manifest> {
  const path = sealedPath(folder, pointId);
  const manifest = await readIfThere(path);
  if (manifest) return manifest;
  throw new SendenseError(
    'chain_damaged',
    `${path} is not there: verify ${pointId}, and rescan the repository`,
    {
      context: { path, restore_point_id: pointId },
    },
  );
}

/**
 * Of a point that is removed, under either name; undefined when neither is there, and without `manifest` when it cannot be
 * understood.
 */
export async function readOwnManifest(
  folder: ManifestFolder,
  pointId: string,
): Promise<{ readonly manifest: Manifest | undefined } | undefined> {
  const removing = removingPath(folder, pointId);
  for (const path of [removing, sealedPath(folder, pointId)]) {
    try {
      const manifest = await readIfThere(path);
      if (!manifest) continue;
      const { removal, ...rest } = manifest;
      return { manifest: path === removing && removal ? { ...rest, removal } : rest };
    } catch (error) {
      if (toSendenseError(error).code === 'manifest_invalid') return { manifest: undefined };
      throw error;
    }
  }
  return undefined;
}

/** The decision to remove a point, and taking it back; nothing happens when it is as it should be. */
export async function renameManifest(
  folder: ManifestFolder,
  pointId: string,
  to: 'removing' | 'sealed',
): Promise<void> {
  const [sealed, removing] = [sealedPath(folder, pointId), removingPath(folder, pointId)];
  const [from, into] = to === 'removing' ? [sealed, removing] : [removing, sealed];
  try {
    await rename(from, into);
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return;
    throw error;
  }
  await syncDirectory(dirname(into));
}

/** Old or new, whatever happens. */
export async function writeManifest(folder: ManifestFolder, manifest: Manifest): Promise<void> {
  const path = sealedPath(folder, manifest.backup_id);
  await removeHalfWritten(path);
  await writeFileAtomically(path, formatManifest(manifest));
}

export async function writeRemoving(folder: ManifestFolder, manifest: Manifest): Promise<void> {
  const path = removingPath(folder, manifest.backup_id);
  await removeHalfWritten(path);
  await writeFileAtomically(path, formatManifest(manifest));
}

/** Everything of a point that lies among the manifests. */
export async function removeManifests(folder: ManifestFolder, pointId: string): Promise<void> {
  const removing = removingPath(folder, pointId);
  await removeHalfWritten(removing);
  await rm(sealedPath(folder, pointId), { force: true });
  await rm(removing, { force: true });
  await syncDirectoryIfThere(dirname(removing));
  await removeEmptyFolders(dirname(removing), folder.repositoryPath);
}

/** What a crash left of files that were being written atomically: `.<name>.<random>.partial`. */
async function removeHalfWritten(path: string): Promise<void> {
  for (const name of await namesIn(dirname(path)))
    if (name.startsWith(`.${basename(path)}.`) && name.endsWith(PARTIAL))
      await rm(join(dirname(path), name), { force: true });
}

/** No error when the folder is gone: nothing in it can come back then. */
export async function syncDirectoryIfThere(path: string): Promise<void> {
  try {
    await syncDirectory(path);
  } catch (error) {
    if (systemErrorCode(error) !== 'ENOENT') throw error;
  }
}

function sealedPath({ repositoryPath, contextId }: ManifestFolder, pointId: string): string {
  return join(repositoryPath, manifestPath(contextId, pointId));
}

function removingPath(folder: ManifestFolder, pointId: string): string {
  return `${sealedPath(folder, pointId)}${REMOVING}`;
}

async function readIfThere(path: string): Promise<Manifest | undefined> {
  try {
    return parseManifest(await readManifestText(path), path);
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

async function namesIn(path: string): Promise<string[]> {
  try {
    return await readdir(path);
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return [];
    throw error;
  }
}
