import { SendenseError } from '@sendense/core';
import { fromJson } from './columns.js';
import type { Database } from './database.js';
import type { Prisma } from './gen/sqlite/client.js';
import { secretHash } from './secrets.js';
import { errorFromJson, errorToJson, type StoredError } from './stored-error.js';

export type CleanupArgs = Readonly<Record<string, string | number | boolean>>;

/** Something that could not be released, for the reaper to try again. */
export interface CleanupRecord {
  readonly id: number;
  /** What has to be done: `remove_snapshot`, `remove_file`, `forget_job`, … */
  readonly what: string;
  readonly args: CleanupArgs;
  readonly backupId: string | undefined;
  readonly attempts: number;
  readonly nextTryAt: Date;
  readonly lastError: StoredError | undefined;
  readonly createdAt: Date;
}

export class Cleanups {
  constructor(private readonly database: Database) {}

  /** The same `what` with the same `args` is recorded once: a second time keeps the first record. */
  async add(o: {
    what: string;
    args: CleanupArgs;
    backupId?: string;
    error?: StoredError;
    nextTryAt?: Date;
  }): Promise<CleanupRecord> {
    const now = this.database.now();
    const args = JSON.stringify(
      Object.fromEntries(Object.entries(o.args).sort(([a], [b]) => (a < b ? -1 : 1))),
    );
    const argsHash = secretHash(`${o.what}\n${args}`);
    const row = await this.database.transaction(
      async (transaction) =>
        (await transaction.cleanup.findUnique({ where: { argsHash } })) ??
        transaction.cleanup.create({
          data: {
            what: o.what,
            args,
            argsHash,
            backupId: o.backupId ?? null,
            attempts: 0,
            nextTryAt: o.nextTryAt ?? now,
            lastError: o.error ? errorToJson(o.error) : null,
            createdAt: now,
          },
        }),
    );
    return toRecord(row);
  }

  /** Those whose time has come, the longest waiting first. */
  async due(o: { now?: Date; limit?: number } = {}): Promise<CleanupRecord[]> {
    const rows = await this.database.run((client) =>
      client.cleanup.findMany({
        where: { nextTryAt: { lte: o.now ?? this.database.now() } },
        orderBy: [{ nextTryAt: 'asc' }, { id: 'asc' }],
        take: o.limit ?? 100,
      }),
    );
    return rows.map(toRecord);
  }

  async list(): Promise<CleanupRecord[]> {
    const rows = await this.database.run((client) => client.cleanup.findMany({ orderBy: { id: 'asc' } }));
    return rows.map(toRecord);
  }

  /** Counts the attempt. @throws `not_found` */
  async failed(id: number, o: { error: StoredError; nextTryAt: Date }): Promise<CleanupRecord> {
    const row = await this.database.transaction(async (transaction) => {
      const { count } = await transaction.cleanup.updateMany({
        where: { id },
        data: { attempts: { increment: 1 }, nextTryAt: o.nextTryAt, lastError: errorToJson(o.error) },
      });
      return count === 1 ? transaction.cleanup.findUnique({ where: { id } }) : null;
    });
    if (!row)
      throw new SendenseError('not_found', `there is no cleanup ${id}`, { context: { cleanup_id: id } });
    return toRecord(row);
  }

  /** Done, and forgotten. Doing it again is no error. */
  async done(id: number): Promise<void> {
    await this.database.run((client) => client.cleanup.deleteMany({ where: { id } }));
  }
}

function toRecord(row: Prisma.CleanupGetPayload<object>): CleanupRecord {
  return {
    id: row.id,
    what: row.what,
    args: fromJson(row.args, 'the arguments of a cleanup') as CleanupArgs,
    backupId: row.backupId ?? undefined,
    attempts: row.attempts,
    nextTryAt: row.nextTryAt,
    lastError: row.lastError === null ? undefined : errorFromJson(row.lastError),
    createdAt: row.createdAt,
  };
}
