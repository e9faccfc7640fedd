import type { Dirent } from 'node:fs';
import { lstat, opendir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { SendenseError, systemErrorCode, throwIfAborted, toSendenseError } from '@sendense/core';
import { MARKER_FILE } from '../repositories/marker.js';
import { readManifestText } from '../runs/manifest-file.js';
import { parseManifest, type Manifest } from '../runs/manifest.js';
import { PARTIAL } from '../runs/run-files.js';
import { REMOVING } from './remove-manifests.js';

/** A list that may have no end: the first of it is kept, all of it is counted. */
export class Tally<T> {
  readonly first: T[] = [];
  count = 0;

  constructor(private readonly most = 1_000) {}

  add(item: T): void {
    this.count++;
    if (this.first.length < this.most) this.first.push(item);
  }
}

/** What a rescan comes across that is no restore point. Paths are relative to the repository. */
export interface Oddities {
  /** Files and folders that no manifest names. */
  readonly strangers: Tally<string>;
  /** Unfinished files of no backup that runs. */
  readonly partial: Tally<string>;
  readonly damaged: Tally<{ readonly path: string; readonly reason: string }>;
}

/** What the folder of one VM holds. */
export interface ContextFiles {
  /** That could be read, by the id of their point. */
  readonly manifests: ReadonlyMap<string, Manifest>;
  /** The same of points whose removal was decided and is not finished: they are no restore points any more. */
  readonly removing: ReadonlyMap<string, Manifest>;
  /** Of points with a manifest: which of the files that it names are not there. */
  readonly missing: ReadonlyMap<string, readonly string[]>;
}

const DISK_FOLDER = /^disk-(0|[1-9]\d{0,6})$/;

/** The folders of VMs in a repository; everything else in it is a stranger. Nothing is followed out of it. */
export async function* contextFolders(
  repositoryPath: string,
  oddities: Oddities,
): AsyncGenerator<string, void, undefined> {
  for await (const entry of entriesOf(repositoryPath)) {
    if (entry.name === MARKER_FILE) continue;
    if (isLeftover(entry.name)) oddities.partial.add(entry.name);
    else if (
      (await kindOf(repositoryPath, entry)) === 'directory' &&
      (await isContext(repositoryPath, entry.name))
    )
      yield entry.name;
    else oddities.strangers.add(entry.name);
  }
}

async function isContext(repositoryPath: string, name: string): Promise<boolean> {
  try {
    for await (const entry of entriesOf(join(repositoryPath, name)))
      if (entry.name === 'manifests' || DISK_FOLDER.test(entry.name)) return true;
  } catch {
    // A folder of another owner, `lost+found` for one.
  }
  return false;
}

/**
 * Looks through the folder of one VM; one that is not there is empty.
 *
 * @param expected partial files of backups that run, relative to the repository
 */
export async function scanContext(
  repository: { readonly path: string },
  contextId: string,
  oddities: Oddities,
  o: { readonly expected: ReadonlySet<string>; readonly signal: AbortSignal },
): Promise<ContextFiles> {
  const manifests = new Map<string, Manifest>();
  const removing = new Map<string, Manifest>();
  const diskFolders: string[] = [];
  const folder = join(repository.path, contextId);
  for await (const entry of entriesOf(folder)) {
    const isFolder = (await kindOf(folder, entry)) === 'directory';
    const path = `${contextId}/${entry.name}`;
    if (isFolder && entry.name === 'manifests') {
      for await (const { manifest, isRemoving } of readManifests(repository, contextId, oddities, o))
        (isRemoving ? removing : manifests).set(manifest.backup_id, manifest);
    } else if (isFolder && DISK_FOLDER.test(entry.name)) diskFolders.push(path);
    else oddities.strangers.add(path);
  }
  const owners = claimFiles(manifests, oddities);
  // A removal may have got anywhere: what it names is no stranger, and need not be there.
  const goners = new Set([...removing.values()].flatMap(filesOf));
  for (const path of diskFolders) await sortDiskFiles(repository.path, path, { owners, goners }, oddities, o);
  // What is left was seen nowhere.
  const missing = new Map<string, string[]>();
  for (const [path, id] of owners) missing.set(id, [...(missing.get(id) ?? []), path]);
  return { manifests, removing, missing };
}

async function* readManifests(
  repository: { readonly path: string },
  contextId: string,
  oddities: Oddities,
  { expected, signal }: { readonly expected: ReadonlySet<string>; readonly signal: AbortSignal },
): AsyncGenerator<{ readonly manifest: Manifest; readonly isRemoving: boolean }, void, undefined> {
  const folder = `${contextId}/manifests`;
  for await (const { name } of entriesOf(join(repository.path, folder))) {
    throwIfAborted(signal);
    const path = `${folder}/${name}`;
    const isRemoving = name.endsWith(`.json${REMOVING}`);
    if (isLeftover(name)) {
      if (!expected.has(path)) oddities.partial.add(path);
    } else if (isRemoving || name.endsWith('.json')) {
      try {
        yield { manifest: await readManifest(repository, contextId, path), isRemoving };
      } catch (error) {
        oddities.damaged.add({ path, reason: toSendenseError(error).message });
      }
    } else oddities.strangers.add(path);
  }
}

/**
 * One manifest, which anybody may have put there: it must be a file itself, of bearable size, and say what its place says.
 *
 * @throws `manifest_invalid`
 */
export async function readManifest(
  repository: { readonly path: string },
  contextId: string,
  path: string,
): Promise<Manifest> {
  const invalid = (why: string) => new SendenseError('manifest_invalid', why, { context: { path } });
  const manifest = parseManifest(await readManifestText(join(repository.path, path)), path);
  const { context_id, backup_id } = manifest;
  if (context_id !== contextId)
    throw invalid(`it is of ${context_id}, and lies in the folder of ${contextId}`);
  if (basename(path).split('.json')[0] !== backup_id)
    throw invalid(`it is of ${backup_id}, which its name is not`);
  for (const disk of manifest.disks)
    if (disk.disk_id !== `${context_id}-disk${disk.disk_number}`)
      throw invalid(`its disk ${disk.disk_number} is named ${disk.disk_id}`);
  return manifest;
}

/** Whose each named file is. One file cannot belong to two points: the second is damaged, and forgotten here. */
function claimFiles(manifests: Map<string, Manifest>, oddities: Oddities): Map<string, string> {
  const owners = new Map<string, string>();
  for (const [id, manifest] of [...manifests].toSorted(([a], [b]) => (a < b ? -1 : 1))) {
    const files = filesOf(manifest);
    const taken = files.find((path) => owners.has(path));
    if (taken === undefined) for (const path of files) owners.set(path, id);
    else {
      manifests.delete(id);
      const reason = `it names ${taken}, which belongs to ${owners.get(taken) ?? ''}`;
      oddities.damaged.add({ path: `${manifest.context_id}/manifests/${id}.json`, reason });
    }
  }
  return owners;
}

function filesOf({ disks }: Manifest): string[] {
  return disks.flatMap(({ image, hashes }) => [image, hashes]);
}

/** Takes the files that are there out of `owners`. */
async function sortDiskFiles(
  repositoryPath: string,
  folder: string,
  { owners, goners }: { readonly owners: Map<string, string>; readonly goners: ReadonlySet<string> },
  oddities: Oddities,
  { expected, signal }: { readonly expected: ReadonlySet<string>; readonly signal: AbortSignal },
): Promise<void> {
  const absolute = join(repositoryPath, folder);
  for await (const entry of entriesOf(absolute)) {
    throwIfAborted(signal);
    const path = `${folder}/${entry.name}`;
    if ((await kindOf(absolute, entry)) === 'file' && (owners.delete(path) || goners.has(path))) continue;
    if (!isLeftover(entry.name)) oddities.strangers.add(path);
    else if (!expected.has(path)) oddities.partial.add(path);
  }
}

/** Unfinished: also what a crash leaves of a file that was being written atomically. */
function isLeftover(name: string): boolean {
  return name.endsWith(PARTIAL);
}

/** One after the other, however many there are; none when there is no such folder. */
async function* entriesOf(folder: string): AsyncGenerator<Dirent, void, undefined> {
  try {
    yield* await opendir(folder);
  } catch (error) {
    if (systemErrorCode(error) !== 'ENOENT') throw error;
  }
}

/** Of the entry itself. Some file systems do not tell with the name. */
async function kindOf(folder: string, entry: Dirent): Promise<'file' | 'directory' | 'other'> {
  const known = entry.isFile() || entry.isDirectory() || entry.isSymbolicLink();
  const found = known ? entry : await lstat(join(folder, entry.name)).catch(() => entry);
  if (found.isFile()) return 'file';
  return found.isDirectory() ? 'directory' : 'other';
}
