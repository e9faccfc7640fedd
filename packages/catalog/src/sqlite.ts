import { chmod, open, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { PrismaBetterSqlite3 } from '@prisma/adapter-better-sqlite3';
import type { SqlDriverAdapter } from '@prisma/driver-adapter-utils';
import { SendenseError } from '@sendense/core';
import { ensureDirectory, type Logger } from '@sendense/runtime';
import { databaseError } from './database-errors.js';
import { Database, type DatabaseOptions } from './database.js';
import { PrismaClient } from './gen/sqlite/client.js';
import { migrate, type Migration } from './migrate.js';

/** How long SQLite itself waits for another process's lock, milliseconds. */
const BUSY_TIMEOUT_MS = 5000;

/**
 * Opens the file, makes it when it is not there, and brings its schema up to date.
 * @throws `catalog_schema_newer`, `catalog_damaged`, `permission_denied`, `out_of_space`, `timeout`
 */
export async function openSqlite(path: string, options: DatabaseOptions): Promise<Database> {
  const { log, migrations, now } = options;
  try {
    await createFile(path);
    const factory = new PrismaBetterSqlite3({ url: `file:${path}`, timeout: BUSY_TIMEOUT_MS });
    const schemaVersion = await prepare(await factory.connect(), migrations, { path, log });
    const client = new PrismaClient({ adapter: factory });
    // WAL is kept in the file; this is not: a committed transaction survives a power cut.
    await client.$queryRawUnsafe('PRAGMA synchronous = FULL');
    await client.$queryRawUnsafe('PRAGMA foreign_keys = ON');
    return new Database({ client, name: path, schemaVersion, now });
  } catch (error) {
    throw databaseError(error, path);
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
