import { isAbsolute } from 'node:path';
import { ACTIVE_BACKUP_STATES, printable, SendenseError } from '@sendense/core';
import { oneOf } from './columns.js';
import { isUniqueViolation } from './database-errors.js';
import type { Database } from './database.js';
import type { Prisma } from './gen/sqlite/client.js';
import { freeId } from './record-ids.js';
import { counts, pointsIn } from './tallies.js';
import { MAX_PATH_LENGTH, requireText } from './text-limits.js';

const REPOSITORY_TYPES = ['local'] as const;
export type RepositoryType = (typeof REPOSITORY_TYPES)[number];

export interface RepositoryRecord {
  /** `repo-local-<unix seconds>` */
  readonly id: string;
  readonly name: string;
  readonly type: RepositoryType;
  /** Absolute. */
  readonly path: string;
  readonly createdAt: Date;
  /** Restore points that lie in it. */
  readonly backupCount: number;
}

export class Repositories {
  constructor(private readonly database: Database) {}

  /**
   * @param o.id that a repository has which is found again; a new one when it is left out
   * @throws `already_exists` when the id, the name or the path is taken, `invalid_argument`
   */
  async create(o: {
    id?: string;
    name: string;
    type: RepositoryType;
    path: string;
  }): Promise<RepositoryRecord> {
    const name = requireText('the name of a repository', o.name);
    const path = requireText('the path of a repository', o.path, MAX_PATH_LENGTH);
    if (!isAbsolute(path))
      throw new SendenseError(
        'invalid_argument',
        `the path of a repository must be absolute: ${printable(path)}`,
      );
    const createdAt = this.database.now();
    try {
      return await this.database.transaction(async (transaction) => {
        const wanted = `repo-${o.type}-${Math.floor(createdAt.getTime() / 1000)}`;
        const isTaken = async (id: string) =>
          (await transaction.repository.findUnique({ where: { id } })) !== null;
        const id = o.id ?? (await freeId(wanted, isTaken));
        if (o.id !== undefined && (await isTaken(id))) throw idTaken(id);
        const data = { id, name, type: o.type, path, createdAt };
        return toRecord(await transaction.repository.create({ data }), 0);
      });
    } catch (error) {
      for (const column of ['name', 'path'] as const) {
        if (!isUniqueViolation(error, column)) continue;
        throw new SendenseError(
          'already_exists',
          `there is already a repository with the ${column} ${printable(o[column])}`,
          { cause: error, context: { [column]: o[column] } },
        );
      }
      throw error;
    }
  }

  /** In the order in which they were made. */
  async list(): Promise<RepositoryRecord[]> {
    const points = await this.database.run((client) => counts(client, pointsIn('')));
    const rows = await this.database.run((client) =>
      client.repository.findMany({ orderBy: [{ createdAt: 'asc' }, { id: 'asc' }] }),
    );
    return rows.map((row) => toRecord(row, points.get(row.id)));
  }

  async find(id: string): Promise<RepositoryRecord | undefined> {
    const row = await this.database.run((client) => client.repository.findUnique({ where: { id } }));
    if (!row) return undefined;
    const points = await this.database.run((client) =>
      client.tally.findUnique({ where: { name: pointsIn(id) } }),
    );
    return toRecord(row, points?.value);
  }

  /** @throws `repository_not_found` */
  async get(id: string): Promise<RepositoryRecord> {
    const found = await this.find(id);
    if (!found) throw repositoryNotFound(id);
    return found;
  }

  /** Forgets it; its files stay. @throws `repository_not_found`, `repository_in_use` while restore points or running backups need it */
  async remove(id: string): Promise<void> {
    await this.database.transaction(async (transaction) => {
      const row = await transaction.repository.findUnique({ where: { id } });
      if (!row) throw repositoryNotFound(id);
      const running = await transaction.backupJob.count({
        where: { repositoryId: id, state: { in: [...ACTIVE_BACKUP_STATES] } },
      });
      const points = await transaction.restorePoint.count({ where: { repositoryId: id } });
      if (points > 0 || running > 0) {
        throw new SendenseError(
          'repository_in_use',
          `repository ${printable(row.name)} holds ${points} restore points and takes ${running} running backups: remove them first`,
          { context: { repository_id: id, restore_points: points, running_backups: running } },
        );
      }
      await transaction.repository.delete({ where: { id } });
      await transaction.tally.deleteMany({ where: { name: pointsIn(id) } });
    });
  }
}

function idTaken(id: string): SendenseError {
  return new SendenseError('already_exists', `there is already a repository with the id ${printable(id)}`, {
    context: { repository_id: id },
  });
}

export function repositoryNotFound(id: string): SendenseError {
  return new SendenseError(
    'repository_not_found',
    `there is no repository ${printable(id)}: list them with 'sendense repository list'`,
    { context: { repository_id: id } },
  );
}

function toRecord(row: Prisma.RepositoryGetPayload<object>, points: number | undefined): RepositoryRecord {
  const { id, name, path, createdAt } = row;
  return {
    id,
    name,
    type: oneOf(REPOSITORY_TYPES, row.type, 'repository type'),
    path,
    createdAt,
    backupCount: points ?? 0,
  };
}
