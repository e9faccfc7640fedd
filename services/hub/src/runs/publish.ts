import { access, rename } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { BackupRecord, SealRequest } from '@sendense/catalog';
import { manifestPath, SendenseError } from '@sendense/core';
import { ensureDirectory, syncDirectory, writeFileAtomically } from '@sendense/runtime';
import { readManifestText } from './manifest-file.js';
import { formatManifest, parseManifest, type Manifest } from './manifest.js';
import { manifestFile, publishedFile, type PublishedFile } from './run-files.js';

/**
 * Publishing a backup whose parts are all proven and durable:
 *
 *   1. the manifest is written under its partial name: the decision, which a restart finds and carries out;
 *   2. images and hashes get their final names;
 *   3. the manifest gets its final name: the backup is whole, and says so by itself;
 *   4. the catalogue gets the restore point, in one transaction.
 *
 * Each step may be done again, so whatever was interrupted is finished by doing all of them.
 */
export async function decide(repositoryPath: string, manifest: Manifest): Promise<void> {
  const { partial } = fileOf(repositoryPath, manifest);
  await ensureDirectory(dirname(partial));
  await writeFileAtomically(partial, formatManifest(manifest));
  // The folder may be new.
  await syncDirectory(dirname(dirname(partial)));
}

/** The manifest of a backup whose publication was decided; undefined when it was not. @throws `manifest_invalid` */
export async function decision(
  repositoryPath: string,
  record: Pick<BackupRecord, 'contextId' | 'id'>,
): Promise<Manifest | undefined> {
  const { path, partial } = manifestFile(repositoryPath, record);
  for (const candidate of [path, partial]) {
    if (await exists(candidate)) return parseManifest(await readManifestText(candidate), candidate);
  }
  return undefined;
}

/** Steps 2 and 3. @throws `manifest_invalid` when a file that it names is not there */
export async function publishFiles(repositoryPath: string, manifest: Manifest): Promise<void> {
  const files = manifest.disks.flatMap(({ image, hashes }) =>
    [image, hashes].map((path) => publishedFile(join(repositoryPath, path))),
  );
  for (const file of files) await moveIntoPlace(file);
  for (const folder of new Set(files.map(({ path }) => dirname(path)))) await syncDirectory(folder);
  const own = fileOf(repositoryPath, manifest);
  await moveIntoPlace(own);
  await syncDirectory(dirname(own.path));
}

/** Step 4, for the catalogue. */
export function sealRequest(manifest: Manifest): SealRequest {
  return {
    takenAt: new Date(manifest.taken_at),
    manifestPath: manifestPath(manifest.context_id, manifest.backup_id),
    disks: manifest.disks.map((disk) => ({
      diskKey: disk.disk_key,
      imagePath: disk.image,
      hashesPath: disk.hashes,
      storedBytes: disk.stored_bytes,
      backupType: disk.backup_type,
      reason: disk.reason,
      ...(disk.parent ? { parentPointId: disk.parent.backup_id } : {}),
    })),
  };
}

function fileOf(repositoryPath: string, { context_id, backup_id }: Manifest): PublishedFile {
  return manifestFile(repositoryPath, { contextId: context_id, id: backup_id });
}

async function moveIntoPlace({ path, partial }: PublishedFile): Promise<void> {
  if (await exists(partial)) return rename(partial, path);
  if (await exists(path)) return undefined;
  throw new SendenseError('manifest_invalid', `${path} is named by its manifest and is not there`, {
    context: { path },
  });
}

async function exists(path: string): Promise<boolean> {
  try {
    await access(path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
}
