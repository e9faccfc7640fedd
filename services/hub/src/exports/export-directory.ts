import { createHash } from 'node:crypto';
import { access, constants, lstat, mkdir, readdir, realpath, rm, stat, statfs } from 'node:fs/promises';
import { join, sep } from 'node:path';
import { printable, SendenseError, systemErrorCode } from '@sendense/core';
import { renameDurably, syncDirectory, type Logger } from '@sendense/runtime';
import { ownUser, shellQuote } from '../repositories/users.js';

export interface ExportDirectoryOptions {
  /** SENDENSE_EXPORT_DIR; undefined: nothing can be exported. */
  readonly path: string | undefined;
  /** Several hubs may share the directory: each sweeps up after itself alone. */
  readonly hubId: string;
  /** Directories that it must not lie in, nor they in it. */
  readonly ownDirectories: readonly string[];
}

/** A folder that is being written. It is removed when it is disposed, unless it was published. */
export interface UnfinishedExport extends AsyncDisposable {
  /** Absolute. */
  readonly path: string;
  /** Under its name from now on, durably. @returns the absolute path @throws `already_exists` */
  publish(): Promise<string>;
}

/** One path component that means the same everywhere, and cannot be taken for an option or a hidden file. */
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/;

/** Where exports go: one folder for each, which is there whole or not at all. */
export class ExportDirectory {
  readonly #suffix: string;

  constructor(private readonly options: ExportDirectoryOptions) {
    this.#suffix = `.part-${createHash('sha256').update(options.hubId).digest('hex').slice(0, 12)}`;
  }

  /**
   * Whether something of this name could be written there now.
   *
   * @param alsoApartFrom more directories that it must not overlap: that of the repository
   * @returns the real path of the directory
   * @throws `export_directory_missing` with what to do · `invalid_argument` for the name · `already_exists` · `conflict`
   */
  async requireFree(name: string, alsoApartFrom: readonly string[] = []): Promise<string> {
    if (!NAME.test(name))
      throw new SendenseError(
        'invalid_argument',
        `'${printable(name).slice(0, 120)}' cannot be the name of an export: a folder of that name is made below SENDENSE_EXPORT_DIR, so it is one name without slashes, of letters, digits, '.', '_' and '-', begins with a letter or digit, and has at most 100 characters`,
        { context: { fields: 'to' } },
      );
    const directory = await this.#directory();
    for (const other of [...this.options.ownDirectories, ...alsoApartFrom])
      if (overlaps(directory, await realpath(other).catch(() => other)))
        throw new SendenseError(
          'conflict',
          `SENDENSE_EXPORT_DIR (${directory}) overlaps ${other}, which the hub itself uses: set it to a directory apart from it`,
          { context: { path: directory } },
        );
    await requireAbsent(join(directory, name));
    return directory;
  }

  /**
   * @param need bytes: what is enough in any case, and what is needed exactly, which takes longer to find out
   * @throws `out_of_space` naming both; as {@link requireFree}
   */
  async begin(
    name: string,
    taskId: string,
    { enough, exactly }: { readonly enough: number; readonly exactly: () => Promise<number> },
  ): Promise<UnfinishedExport> {
    const directory = await this.requireFree(name);
    const { bavail, bsize } = await statfs(directory);
    const free = bavail * bsize;
    const need = free < enough ? await exactly() : 0;
    if (free < need)
      throw new SendenseError(
        'out_of_space',
        `${directory} has ${free} bytes left, and the export needs ${need}: make room there, or set SENDENSE_EXPORT_DIR to another directory`,
        { context: { path: directory, available_bytes: free, needed_bytes: need } },
      );
    const path = join(directory, `.${name}${this.#suffix}-${taskId}`);
    await mkdir(path, { mode: 0o750 });
    return {
      path,
      publish: async () => {
        const target = join(directory, name);
        await requireAbsent(target);
        await syncDirectory(path);
        await renameDurably(path, target);
        return target;
      },
      [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }),
    };
  }

  /** At the start: removes what a hub that was killed left unfinished. Never throws. */
  async sweep(log: Logger): Promise<void> {
    if (this.options.path === undefined) return;
    try {
      const directory = await this.#directory();
      for (const name of await readdir(directory)) {
        if (!name.startsWith('.') || !name.includes(`${this.#suffix}-`)) continue;
        const path = join(directory, name);
        log.warn({ path }, 'an export that was not finished is removed');
        await rm(path, { recursive: true, force: true });
      }
    } catch (error) {
      log.error({ error: String(error) }, 'unfinished exports could not be removed');
    }
  }

  async #directory(): Promise<string> {
    const { path } = this.options;
    if (path === undefined)
      throw missing(
        'no directory for exports is set: make one, set SENDENSE_EXPORT_DIR to it, and restart the hub',
      );
    const create = `install -d -m 750 -o ${shellQuote(ownUser().name)} ${shellQuote(path)}`;
    try {
      const real = await realpath(path);
      if (!(await stat(real)).isDirectory())
        throw missing(`SENDENSE_EXPORT_DIR (${path}) is not a directory`);
      await access(real, constants.R_OK | constants.W_OK | constants.X_OK);
      return real;
    } catch (error) {
      const code = systemErrorCode(error);
      if (code === undefined) throw error;
      const why = code === 'ENOENT' ? 'is not there' : `cannot be written to (${code})`;
      throw missing(
        `SENDENSE_EXPORT_DIR (${path}) ${why}. If it is a mount point, mount it; otherwise: ${create}`,
      );
    }
  }
}

async function requireAbsent(path: string): Promise<void> {
  const found = await lstat(path).catch((error: unknown) => {
    if (systemErrorCode(error) === 'ENOENT') return undefined;
    throw error;
  });
  if (!found) return;
  throw new SendenseError(
    'already_exists',
    `${path} is there already, and nothing is overwritten: name another folder, or remove that one first`,
    { context: { path } },
  );
}

function missing(message: string): SendenseError {
  return new SendenseError('export_directory_missing', message);
}

function overlaps(a: string, b: string): boolean {
  const within = (inner: string, outer: string) =>
    inner === outer || inner.startsWith(outer.endsWith(sep) ? outer : `${outer}${sep}`);
  return within(a, b) || within(b, a);
}
