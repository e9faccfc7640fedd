import { realpath } from 'node:fs/promises';
import { sep } from 'node:path';
import type { Catalog, RepositoryRecord } from '@sendense/catalog';
import { printable, SendenseError, toSendenseError } from '@sendense/core';
import { withDeadline, withFairDeadline, type Logger } from '@sendense/runtime';
import type { RepositoryAccess, UsableRepository } from '../runs/index.js';
import { LocalDirectory } from './local-directory.js';
import type { RepositoryStatus, RepositoryType } from './repository-type.js';

/** A file system that hangs must not hold up a list of repositories. */
const CHECK_TIMEOUT_MS = 3_000;

export interface RepositoryWithStatus {
  readonly record: RepositoryRecord;
  readonly status: RepositoryStatus;
}

export interface RepositoriesOptions {
  readonly catalog: Catalog;
  /** Marks the repositories as this hub's. */
  readonly hubId: string;
  /** Directories of the hub that no repository may overlap. */
  readonly ownDirectories: readonly string[];
  readonly log: Logger;
  /** @default local directories */
  readonly types?: RepositoryTypes;
}

export interface NewRepository {
  readonly name: string;
  readonly type: RepositoryRecord['type'];
  readonly path: string;
  readonly adopt?: boolean;
}

export type RepositoryTypes = Readonly<Record<RepositoryRecord['type'], RepositoryType>>;

/**
 * The repositories of this hub. Whether one can be used is looked at each time, never remembered: one that is repaired
 * is available again without a restart, and one that breaks does not touch the others.
 */
export class Repositories implements RepositoryAccess {
  readonly #types: RepositoryTypes;
  /** A check that still waits for a hanging file system is not started again: each would keep a thread. */
  readonly #checking = new Map<string, Promise<RepositoryStatus>>();

  constructor(private readonly options: RepositoriesOptions) {
    this.#types = options.types ?? { local: new LocalDirectory() };
  }

  async list(): Promise<RepositoryWithStatus[]> {
    const records = await this.options.catalog.repositories.list();
    return Promise.all(records.map(async (record) => ({ record, status: await this.check(record) })));
  }

  /** @throws `repository_not_found` */
  async get(id: string): Promise<RepositoryWithStatus> {
    const record = await this.options.catalog.repositories.get(id);
    return { record, status: await this.check(record) };
  }

  /** One that a backup can go to now. @throws `repository_not_found`, or why it is not available */
  async usable(id: string): Promise<UsableRepository> {
    const { record, status } = await this.get(id);
    if (!status.available) throw status.problem;
    return {
      id,
      name: record.name,
      path: record.path,
      availableBytes: async () => {
        const now = await this.check(record);
        if (!now.available) throw now.problem;
        return now.space.availableBytes;
      },
    };
  }

  /**
   * Takes a directory as a repository. One that was a repository of this hub before, and of which the catalogue knows
   * nothing any more, is the same again: a rescan then finds its restore points.
   *
   * @param request.adopt also take over one that carries the mark of another hub, which must not use it any more
   * @throws `repository_missing`, `repository_not_writable`, `repository_in_use`, `already_exists`, `manifest_invalid`,
   *   `conflict` when it overlaps another or the hub's own directories
   */
  async add({ name, type: kind, path: given, adopt = false }: NewRepository): Promise<RepositoryWithStatus> {
    const { catalog, hubId } = this.options;
    const type = this.#types[kind];
    const path = await type.resolve(given);
    await this.#refuseOverlap(path);
    const mark = await type.markAt(path);
    const isOwn = mark !== undefined && (adopt || mark.hubId === hubId);
    if (isOwn) await this.#requireFree(mark.repositoryId, path);
    const id = isOwn ? { id: mark.repositoryId } : {};
    const record = await catalog.repositories.create({ ...id, name, type: kind, path });
    try {
      await type.claim(record, hubId, { takeOver: adopt });
    } catch (error) {
      await catalog.repositories.remove(record.id);
      throw toSendenseError(error, 'repository_not_writable');
    }
    return { record, status: await this.check(record) };
  }

  /** Forgets a repository; its files stay. @throws `repository_not_found`, `repository_in_use` */
  async remove(id: string): Promise<void> {
    const { catalog, log } = this.options;
    const record = await catalog.repositories.get(id);
    await catalog.repositories.remove(id);
    try {
      await withDeadline('removing the mark', CHECK_TIMEOUT_MS, () =>
        this.#types[record.type].release(record),
      );
    } catch (error) {
      // It may be the reason for removing it: a directory that is gone.
      log.warn(
        { repositoryId: id, error: toSendenseError(error).message },
        'the mark of a removed repository stays',
      );
    }
  }

  async check(record: RepositoryRecord): Promise<RepositoryStatus> {
    const running = this.#checking.get(record.id) ?? this.#startCheck(record);
    try {
      return await withFairDeadline(`looking at ${record.path}`, CHECK_TIMEOUT_MS, () => running);
    } catch (error) {
      return {
        available: false,
        problem: new SendenseError(
          'repository_missing',
          `the repository's directory ${record.path} does not answer within ${CHECK_TIMEOUT_MS / 1000} s: look after its file system (a network file system whose server is away?)`,
          { context: { path: record.path }, cause: error, retryable: true },
        ),
      };
    }
  }

  #startCheck(record: RepositoryRecord): Promise<RepositoryStatus> {
    const check = this.#types[record.type].check(record).finally(() => this.#checking.delete(record.id));
    this.#checking.set(record.id, check);
    return check;
  }

  /** A copy of a repository that is in use is not a second one of the same id. @throws `repository_in_use`, `manifest_invalid` */
  async #requireFree(id: string, path: string): Promise<void> {
    if (!/^repo-[a-z]+-\d{1,20}(-\d{1,6})?$/.test(id))
      throw new SendenseError(
        'manifest_invalid',
        `${path} is marked as the repository ${printable(id).slice(0, 100)}, which is no id of ours: restore its mark, or remove it`,
        { context: { path } },
      );
    const other = await this.options.catalog.repositories.find(id);
    if (!other) return;
    throw new SendenseError(
      'repository_in_use',
      `${path} is marked as repository ${id}, which lies at ${other.path}: it is a copy of it. Remove the repository ${id} first if this one is to take its place, or remove the mark from the copy`,
      { context: { path, repository_id: id } },
    );
  }

  async #refuseOverlap(path: string): Promise<void> {
    for (const own of this.options.ownDirectories) {
      if (overlaps(path, await realpath(own).catch(() => own)))
        throw new SendenseError(
          'conflict',
          `${path} overlaps ${own}, which the hub itself uses: choose a directory apart from it`,
          { context: { path } },
        );
    }
    for (const other of await this.options.catalog.repositories.list()) {
      if (overlaps(path, other.path))
        throw new SendenseError(
          'conflict',
          `${path} overlaps repository ${other.id} at ${other.path}: choose a directory apart from it`,
          { context: { path, repository_id: other.id } },
        );
    }
  }
}

/** Whether two real paths are the same directory or one lies in the other. */
function overlaps(a: string, b: string): boolean {
  const within = (inner: string, outer: string) =>
    inner === outer || inner.startsWith(outer === sep ? sep : `${outer}${sep}`);
  return within(a, b) || within(b, a);
}
