import { readdir, rm, rmdir } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { BackupRecord } from '@sendense/catalog';
import { diskLayout, manifestPath } from '@sendense/core';

/** What is not sealed yet has this at the end of its name: nobody may take it for a backup. */
export const PARTIAL = '.partial';

/** A file of a restore point: the name that it gets once everything is proven, and the one that it has before. */
export interface PublishedFile {
  readonly path: string;
  readonly partial: string;
}

export function publishedFile(path: string): PublishedFile {
  return { path, partial: `${path}${PARTIAL}` };
}

export function manifestFile(
  repositoryPath: string,
  { contextId, id }: Pick<BackupRecord, 'contextId' | 'id'>,
): PublishedFile {
  return publishedFile(join(repositoryPath, manifestPath(contextId, id)));
}

/**
 * Removes everything that a backup may have written, for those that end without a restore point. The manifest goes first:
 * nothing may look whole while its parts disappear. Folders that are empty then go too.
 *
 * @throws the first failure, after everything has been tried
 */
export async function removeRunFiles(repositoryPath: string, record: BackupRecord): Promise<void> {
  const { contextId, vmName, id: backupId } = record;
  const layouts = record.disks.map((disk) =>
    diskLayout({ contextId, vmName, backupId, number: disk.diskNumber }),
  );
  const files = [
    manifestFile(repositoryPath, record),
    ...layouts.flatMap(({ imagePath, hashesPath }) =>
      [imagePath, hashesPath].map((path) => publishedFile(join(repositoryPath, path))),
    ),
  ];
  const failures: unknown[] = [];
  await removeHalfWritten(manifestFile(repositoryPath, record));
  for (const path of files.flatMap((file) => [file.path, file.partial])) {
    try {
      await rm(path, { force: true });
      await removeEmptyFolders(dirname(path), repositoryPath);
    } catch (error) {
      failures.push(error);
    }
  }
  if (failures.length > 0) throw failures[0];
}

/** What a crash leaves of a file that was being written atomically: `.<name>.<random>.partial` beside it. */
export async function removeHalfWritten({ partial }: PublishedFile): Promise<void> {
  const folder = dirname(partial);
  const prefix = `.${basename(partial)}.`;
  for (const name of await readdir(folder).catch(() => []))
    if (name.startsWith(prefix)) await rm(join(folder, name), { force: true });
}

/** Up to `top`, which stays. */
export async function removeEmptyFolders(from: string, top: string): Promise<void> {
  for (let folder = from; folder.startsWith(`${top}/`); folder = dirname(folder)) {
    const entries = await readdir(folder).catch(() => undefined);
    if (entries === undefined) continue;
    if (entries.length > 0) return;
    await rmdir(folder);
  }
}
