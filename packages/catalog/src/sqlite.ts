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
/** A file up to here is checked as a whole when it is opened. */
const WHOLE_CHECK_BYTES = 128 << 20;
const GROWING_TABLES = new Set([
  'backup_jobs',
  'backup_disks',
  'restore_points',
  'restore_point_disks',
  'tasks',
  'audit_events',
]);

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
    return new Database({ client, name: path, schemaVersion, now, pagesByRange: false });
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
    const found = await firstDamage(adapter, options.path);
    if (found !== undefined) {
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

/**
 * A large file is not read through at every start, which would take a minute from a disk: then the tables that grow with
 * each backup are left out. Damage there is found by whoever reads it.
 */
async function firstDamage(adapter: SqlDriverAdapter, path: string): Promise<string | undefined> {
  const { size } = await stat(path);
  const parts = size <= WHOLE_CHECK_BYTES ? ['1'] : await smallTables(adapter);
  for (const part of parts) {
    const found = await pragma(adapter, `quick_check(${part})`);
    if (found !== 'ok') return found;
  }
  return undefined;
}

async function smallTables(adapter: SqlDriverAdapter): Promise<string[]> {
  const sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'";
  const { rows } = await adapter.queryRaw({ sql, args: [], argTypes: [] });
  return rows.map(([name]) => String(name)).filter((name) => !GROWING_TABLES.has(name));
}

async function pragma(adapter: SqlDriverAdapter, text: string): Promise<string> {
  const { rows } = await adapter.queryRaw({ sql: `PRAGMA ${text}`, args: [], argTypes: [] });
  const value = rows[0]?.[0];
  return typeof value === 'string' ? value : '';
}
