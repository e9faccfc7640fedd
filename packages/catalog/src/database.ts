import { chmod, open, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { PrismaBetterSqlite3 } from '@prisma/adapter-better-sqlite3';
import type { SqlDriverAdapter } from '@prisma/driver-adapter-utils';
import { SendenseError } from '@sendense/core';
import { ensureDirectory, type Logger } from '@sendense/runtime';
import { databaseError, isBusy } from './database-errors.js';
import { PrismaClient, type Prisma } from './gen/sqlite/client.js';
import { migrate, type Migration } from './migrate.js';

export type Transaction = Prisma.TransactionClient;

/** How long SQLite itself waits for another process's lock, milliseconds. */
const BUSY_TIMEOUT_MS = 5000;
const TRANSACTION_ATTEMPTS = 5;
/** What a transaction has read still holds when it commits; SQLite knows no other way, other databases have to be told. */
const TRANSACTION_OPTIONS = { maxWait: 30_000, timeout: 30_000, isolationLevel: 'Serializable' } as const;

/**
 * The one connection to the database. Work on it runs one after another: the adapter has a single connection, and a
 * query from elsewhere would otherwise slip into whatever transaction is open, and be rolled back with it.
 */
export class Database implements AsyncDisposable {
  #last: Promise<unknown> = Promise.resolve();
  #closed = false;

  private constructor(
    private readonly client: PrismaClient,
    readonly path: string,
    readonly schemaVersion: string,
    readonly now: () => Date,
  ) {}

  static async open(
    path: string,
    options: { readonly log: Logger; readonly migrations: readonly Migration[]; readonly now: () => Date },
  ): Promise<Database> {
    const { log, migrations, now } = options;
    try {
      await createFile(path);
      const factory = new PrismaBetterSqlite3({ url: `file:${path}`, timeout: BUSY_TIMEOUT_MS });
      const schemaVersion = await prepare(await factory.connect(), migrations, { path, log });
      const client = new PrismaClient({ adapter: factory });
      // WAL is kept in the file; this is not: a committed transaction survives a power cut.
      await client.$queryRawUnsafe('PRAGMA synchronous = FULL');
      await client.$queryRawUnsafe('PRAGMA foreign_keys = ON');
      return new Database(client, path, schemaVersion, now);
    } catch (error) {
      throw databaseError(error, path);
    }
  }

  /** Runs queries that only read, or one statement that writes. */
  async run<T>(work: (client: Transaction) => Promise<T>): Promise<T> {
    return this.#enqueue(() => work(this.client));
  }

  /** Runs `work` in one transaction; it may run again after a collision with another process, so it must do nothing else. */
  async transaction<T>(work: (transaction: Transaction) => Promise<T>): Promise<T> {
    return this.#enqueue(async () => {
      for (let attempt = 1; ; attempt++) {
        try {
          return await this.client.$transaction(work, TRANSACTION_OPTIONS);
        } catch (error) {
          if (!isBusy(error) || attempt === TRANSACTION_ATTEMPTS) throw error;
        }
      }
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#last;
    await this.client.$disconnect();
  }

  #enqueue<T>(work: () => Promise<T>): Promise<T> {
    if (this.#closed)
      return Promise.reject(
        new SendenseError('shutting_down', 'the catalogue is closed', { retryable: true }),
      );
    const result = this.#last.then(work).catch((error: unknown) => {
      throw databaseError(error, this.path);
    });
    this.#last = result.catch(() => {});
    return result;
  }
}

/** Readable for nobody else: it holds hashes of tokens and encrypted passwords. SQLite gives its other files the same mode. */
async function createFile(path: string): Promise<void> {
  try {
    await ensureDirectory(dirname(path));
    await (await open(path, 'a', 0o600)).close();
    if (((await stat(path)).mode & 0o077) !== 0) await chmod(path, 0o600);
  } catch (error) {
    throw new SendenseError(
      'permission_denied',
      `the catalogue ${path} cannot be opened: ${(error as Error).message}; make its folder writable for the user that runs Sendense`,
      { cause: error, context: { path } },
    );
  }
}

/** Checks the file and brings its schema up to date, on a connection that is closed afterwards. */
async function prepare(
  adapter: SqlDriverAdapter,
  migrations: readonly Migration[],
  options: { readonly path: string; readonly log: Logger },
): Promise<string> {
  try {
    const found = await pragma(adapter, 'quick_check(1)');
    if (found !== 'ok') {
      throw new SendenseError(
        'catalog_damaged',
        `the catalogue ${options.path} is damaged (${found}): put back a copy of it, or rescan the repositories into a new one`,
        { context: { path: options.path } },
      );
    }
    if ((await pragma(adapter, 'journal_mode')) !== 'wal') await pragma(adapter, 'journal_mode = WAL');
    await pragma(adapter, 'synchronous = FULL');
    await pragma(adapter, 'foreign_keys = OFF');
    return await migrate(adapter, migrations, options);
  } finally {
    await adapter.dispose();
  }
}

async function pragma(adapter: SqlDriverAdapter, text: string): Promise<string> {
  const { rows } = await adapter.queryRaw({ sql: `PRAGMA ${text}`, args: [], argTypes: [] });
  const value = rows[0]?.[0];
  return typeof value === 'string' ? value : '';
}
