import { access, constants, realpath, stat, statfs } from 'node:fs/promises';
import { dirname, isAbsolute } from 'node:path';
import { SendenseError, systemErrorCode, toSendenseError } from '@sendense/core';
import { openedBy } from './closed-by-service.js';
import { MARKER_FILE, readMarker, removeMarker, writeMarker, type Marker } from './marker.js';
import type {
  ClaimOptions,
  RepositoryPlace,
  RepositorySpace,
  RepositoryStatus,
  RepositoryType,
} from './repository-type.js';
import { describeUser, ownUser, shellQuote } from './users.js';

/** The paths of images below it must stay within PATH_MAX (4096 bytes), also as a relative backing path. */
const MAX_PATH_BYTES = 1000;

/** A directory of this host. */
export class LocalDirectory implements RepositoryType {
  readonly type = 'local';

  async resolve(path: string): Promise<string> {
    if (!isAbsolute(path))
      throw new SendenseError('invalid_argument', `path must be absolute, got '${path}'`);
    if (Buffer.byteLength(path) > MAX_PATH_BYTES)
      throw new SendenseError('invalid_argument', `path must have at most ${MAX_PATH_BYTES} bytes`);
    await requireWritableDirectory(path);
    return realpath(path);
  }

  markAt(path: string): Promise<Marker | undefined> {
    return readMarker(path);
  }

  async claim(place: RepositoryPlace, hubId: string, o: ClaimOptions = {}): Promise<void> {
    const found = await explained(place.path, () => readMarker(place.path));
    const isOthers = found && found.hubId !== hubId && !o.takeOver;
    if (found && (isOthers || found.repositoryId !== place.id)) {
      const whose = found.hubId === hubId ? 'this hub' : 'another hub, or an earlier catalogue of this one';
      throw new SendenseError(
        'repository_in_use',
        `${place.path} already belongs to repository ${found.repositoryId} of ${whose}. Choose another directory; if no other hub uses it any more, take it over with its restore points by adding it with "adopt": true (sendense repository add --adopt), and rescan it; its mark is ${shellQuote(`${place.path}/${MARKER_FILE}`)}`,
        { context: { path: place.path, repository_id: found.repositoryId } },
      );
    }
    await explained(place.path, () => writeMarker(place.path, { repositoryId: place.id, hubId }));
  }

  async release(place: RepositoryPlace): Promise<void> {
    const found = await readMarker(place.path);
    if (found?.repositoryId === place.id) await removeMarker(place.path);
  }

  async check(place: RepositoryPlace): Promise<RepositoryStatus> {
    let space: RepositorySpace | undefined;
    try {
      await requireWritableDirectory(place.path);
      await requireMark(place);
      space = await spaceOf(place.path);
      return { available: true, space };
    } catch (error) {
      const problem = toSendenseError(error, 'repository_missing');
      return { available: false, problem, ...(space ? { space } : {}) };
    }
  }
}

async function requireMark(place: RepositoryPlace): Promise<void> {
  const marker = await readMarker(place.path);
  if (marker?.repositoryId === place.id) return;
  const found = marker ? `it holds repository ${marker.repositoryId}` : `${MARKER_FILE} is not in it`;
  throw new SendenseError(
    'repository_missing',
    `${place.path} is not the directory of repository ${place.id}: ${found}. Is its file system not mounted, or another one mounted there? Mount the right one`,
    { context: { path: place.path, repository_id: place.id } },
  );
}

async function spaceOf(path: string): Promise<RepositorySpace> {
  const { blocks, bfree, bavail, bsize } = await statfs(path);
  return {
    totalBytes: blocks * bsize,
    usedBytes: (blocks - bfree) * bsize,
    availableBytes: bavail * bsize,
  };
}

/** @throws `repository_missing`, `repository_not_writable` */
async function requireWritableDirectory(path: string): Promise<void> {
  try {
    const found = await stat(path);
    if (!found.isDirectory()) throw missing(path, 'is not a directory');
    await access(path, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (error) {
    if (error instanceof SendenseError) throw error;
    throw await explain(path, error);
  }
}

/** What is done with the mark in the directory; a directory that may be written to can still refuse it. */
async function explained<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof SendenseError) throw error;
    // It was found a moment ago: on `/proc` and the like no file can be made, and that is how they say it.
    if (systemErrorCode(error) === 'ENOENT' && (await isDirectory(path))) throw takesNoFiles(path, error);
    throw await explain(path, error);
  }
}

async function isDirectory(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
}

async function explain(path: string, error: unknown): Promise<SendenseError> {
  const lines = openedBy(path);
  if (lines !== undefined) return closed(path, lines, error);
  switch (systemErrorCode(error)) {
    case 'ENOENT':
      return missing(path, 'does not exist', error);
    case 'ENOTDIR':
      return missing(path, 'is not a directory: a part of the path is a file', error);
    case 'EROFS':
      return notWritable(path, 'its file system is mounted read-only', remountCommand(path), error);
    case 'EACCES':
    case 'EPERM':
      return refusedBy(await firstRefusing(path), path, error);
    case 'ENOSPC':
    case 'EDQUOT':
      return full(path, error);
    default:
      return missing(path, `cannot be looked at (${String(error)})`, error);
  }
}

function missing(path: string, why: string, cause?: unknown): SendenseError {
  const { name } = ownUser();
  const create = `install -d -m 750 -o ${shellQuote(name)} ${shellQuote(path)}`;
  return new SendenseError(
    'repository_missing',
    `the repository's directory ${path} ${why}. If it is a mount point, mount it; if it is new, create it with: ${create}`,
    { context: { path, fix: create }, cause },
  );
}

function notWritable(path: string, why: string, fix: string, cause: unknown): SendenseError {
  const { uid, name } = ownUser();
  return new SendenseError(
    'repository_not_writable',
    `the repository's directory ${path} is not writable for the hub's user ${name} (uid ${uid}): ${why}. Fix it with: ${fix}`,
    { context: { path, user: name, fix }, cause },
  );
}

function closed(path: string, lines: string, cause: unknown): SendenseError {
  const fix = 'systemctl edit sendense-hub';
  return new SendenseError(
    'repository_not_writable',
    `the repository's directory ${path} is not there for the hub, or read-only: its systemd unit closes this part of the system. Choose a place such as /srv; or open it with '${fix}', a line [Service], the lines ${lines}, and a restart`,
    { context: { path, fix }, cause },
  );
}

function takesNoFiles(path: string, cause: unknown): SendenseError {
  return new SendenseError(
    'repository_not_writable',
    `no file can be made in the directory ${path}, although it may be written to: it belongs to a file system of the kernel's own, such as /proc. Name a directory on a disk or a mounted share`,
    { context: { path }, cause },
  );
}

function full(path: string, cause: unknown): SendenseError {
  return new SendenseError(
    'repository_full',
    `the file system of ${path} has no space left, or the hub's user has no quota left there: not even the mark of the repository fits. Make room, or name another directory`,
    { context: { path }, cause },
  );
}

/** The directory itself, or the one above it that does not let this user pass. */
async function firstRefusing(path: string): Promise<string> {
  let refusing = path;
  for (let above = dirname(path); ; above = dirname(above)) {
    try {
      await access(above, constants.X_OK);
      return refusing;
    } catch {
      refusing = above;
    }
    if (above === '/') return refusing;
  }
}

async function refusedBy(refusing: string, path: string, error: unknown): Promise<SendenseError> {
  const { uid, name } = ownUser();
  const found = await stat(refusing).catch(() => undefined);
  const owner = found ? await describeUser(found.uid) : 'unknown';
  const mode = found ? (found.mode & 0o7777).toString(8).padStart(4, '0') : 'unknown';
  if (refusing !== path) {
    const fix = `setfacl -m u:${name}:x ${shellQuote(refusing)}`;
    return notWritable(
      path,
      `${refusing} above it (owner ${owner}, mode ${mode}) lets it not pass`,
      fix,
      error,
    );
  }
  const why = `its owner is ${owner}, its mode ${mode}`;
  if (uid === 0)
    return notWritable(path, `${why}, and it is protected`, `chattr -i ${shellQuote(path)}`, error);
  const fix =
    found?.uid === uid ? `chmod u+rwx ${shellQuote(path)}` : `chown ${shellQuote(name)} ${shellQuote(path)}`;
  return notWritable(path, why, fix, error);
}

function remountCommand(path: string): string {
  return `mount -o remount,rw "$(findmnt -n -o TARGET --target ${shellQuote(path)})"`;
}
