import { createHash, randomUUID } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { SqlDriverAdapter } from '@prisma/driver-adapter-utils';
import { SendenseError } from '@sendense/core';
import type { Logger } from '@sendense/runtime';
import { databaseError, databaseMessage } from './database-errors.js';

export interface Migration {
  /** `20261121092928_initial`: sorts by age. */
  readonly name: string;
  readonly sql: string;
  /** SHA-256 of the file, hexadecimal, as Prisma's own tools compute it. */
  readonly checksum: string;
}

/** The migrations of this build; they lie beside `dist` in the package. */
export const MIGRATIONS_FOLDER = join(import.meta.dirname, '..', '..', 'migrations', 'sqlite');
export const MARIADB_MIGRATIONS_FOLDER = join(import.meta.dirname, '..', '..', 'migrations', 'mariadb');

export async function readMigrations(folder: string): Promise<Migration[]> {
  const entries = await readdir(folder, { withFileTypes: true });
  const names = entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name);
  return Promise.all(
    names.sort().map(async (name) => {
      const sql = await readFile(join(folder, name, 'migration.sql'), 'utf8');
      return { name, sql, checksum: createHash('sha256').update(sql).digest('hex') };
    }),
  );
}

/** As Prisma's tools make it, so that they can read the history and go on with it. */
const HISTORY_TABLE = `CREATE TABLE IF NOT EXISTS "_prisma_migrations" (
    "id"                    TEXT PRIMARY KEY NOT NULL,
    "checksum"              TEXT NOT NULL,
    "finished_at"           DATETIME,
    "migration_name"        TEXT NOT NULL,
    "logs"                  TEXT,
    "rolled_back_at"        DATETIME,
    "started_at"            DATETIME NOT NULL DEFAULT current_timestamp,
    "applied_steps_count"   INTEGER UNSIGNED NOT NULL DEFAULT 0
)`;

/**
 * Applies what is missing, each migration in a transaction of its own: a process that is killed leaves it whole or
 * not there. Another process may do the same at the same time. The connection's foreign keys must be off: SQLite
 * rebuilds a table by dropping it, which would empty the tables that refer to it.
 *
 * @returns the name of the newest migration
 * @throws `catalog_schema_newer`, `catalog_damaged`, `out_of_space`
 */
export async function migrate(
  adapter: SqlDriverAdapter,
  migrations: readonly Migration[],
  options: { readonly path: string; readonly log: Logger },
): Promise<string> {
  const { path, log } = options;
  await inTransaction(adapter, path, () => adapter.executeScript(HISTORY_TABLE));
  for (const migration of pendingMigrations(migrations, await readHistory(adapter), path)) {
    await inTransaction(adapter, path, async () => {
      // Another process may have been quicker.
      const still = pendingMigrations(migrations, await readHistory(adapter), path);
      if (!still.includes(migration)) return;
      const startedAt = new Date();
      await applyMigration(adapter, migration, path);
      await requireForeignKeys(adapter, migration, path);
      await recordMigration(adapter, migration, startedAt);
      log.info({ migration: migration.name, path }, 'catalogue schema migrated');
    });
  }
  return migrations.at(-1)?.name ?? '';
}

async function applyMigration(
  adapter: SqlDriverAdapter,
  { name, sql }: Migration,
  path: string,
): Promise<void> {
  try {
    await adapter.executeScript(sql);
  } catch (error) {
    const known = databaseError(error, path);
    if (known instanceof SendenseError) throw known;
    throw new SendenseError(
      'internal',
      `the migration ${name} of the catalogue ${path} failed, and nothing was changed: ${databaseMessage(error)}`,
      { cause: error, context: { path, migration: name } },
    );
  }
}

export interface HistoryRow {
  readonly name: string;
  readonly checksum: string;
  readonly finished: boolean;
}

/** What is left to apply. @throws `catalog_schema_newer`, `catalog_damaged` */
export function pendingMigrations(
  migrations: readonly Migration[],
  history: readonly HistoryRow[],
  path: string,
): Migration[] {
  const known = new Map(migrations.map((migration) => [migration.name, migration]));
  for (const { name, checksum, finished } of history) {
    const migration = known.get(name);
    if (!migration) {
      throw new SendenseError(
        'catalog_schema_newer',
        `the catalogue ${path} holds the migration ${name}, which this build does not know: a newer Sendense has used it. ` +
          `Start that version, or put back a copy of the catalogue from before the upgrade`,
        { context: { path, migration: name } },
      );
    }
    if (!finished || migration.checksum !== checksum) {
      const what = finished
        ? 'was applied with another content than this build has'
        : 'was begun and not finished';
      throw new SendenseError(
        'catalog_damaged',
        `the catalogue ${path} does not have the schema that it says: the migration ${name} ${what}. ` +
          `Put back a copy of the catalogue, or install the release that made it`,
        { context: { path, migration: name } },
      );
    }
  }
  const applied = new Set(history.map((row) => row.name));
  return migrations.filter((migration) => !applied.has(migration.name));
}

async function readHistory(adapter: SqlDriverAdapter): Promise<HistoryRow[]> {
  const { rows } = await adapter.queryRaw({
    sql: 'SELECT "migration_name", "checksum", "finished_at" FROM "_prisma_migrations" WHERE "rolled_back_at" IS NULL',
    args: [],
    argTypes: [],
  });
  return rows.map(([name, checksum, finishedAt]) => ({
    name: String(name),
    checksum: String(checksum),
    finished: finishedAt !== null,
  }));
}

async function recordMigration(
  adapter: SqlDriverAdapter,
  migration: Migration,
  startedAt: Date,
): Promise<void> {
  await adapter.executeRaw({
    sql: 'INSERT INTO "_prisma_migrations" ("id", "checksum", "migration_name", "started_at", "finished_at", "applied_steps_count") VALUES (?, ?, ?, ?, ?, 1)',
    args: [
      randomUUID(),
      migration.checksum,
      migration.name,
      startedAt.toISOString(),
      new Date().toISOString(),
    ],
    argTypes: ['string', 'string', 'string', 'datetime', 'datetime'].map((scalarType) => ({
      scalarType: scalarType as 'string' | 'datetime',
      arity: 'scalar',
    })),
  });
}

async function requireForeignKeys(
  adapter: SqlDriverAdapter,
  migration: Migration,
  path: string,
): Promise<void> {
  const { rows } = await adapter.queryRaw({ sql: 'PRAGMA foreign_key_check', args: [], argTypes: [] });
  if (rows.length === 0) return;
  throw new SendenseError(
    'catalog_damaged',
    `the migration ${migration.name} of ${path} would leave ${rows.length} rows that refer to nothing (first in table ${String(rows[0]?.[0])}); nothing was changed`,
    { context: { path, migration: migration.name } },
  );
}

async function inTransaction(
  adapter: SqlDriverAdapter,
  path: string,
  work: () => Promise<void>,
): Promise<void> {
  try {
    // IMMEDIATE takes the write lock now: what is read in the transaction cannot be outdated when it writes.
    await adapter.executeScript('BEGIN IMMEDIATE');
    try {
      await work();
      await adapter.executeScript('COMMIT');
    } catch (error) {
      await adapter.executeScript('ROLLBACK').catch(() => {
        // SQLite has rolled back by itself after some errors (a full disk): the first error counts.
      });
      throw error;
    }
  } catch (error) {
    throw databaseError(error, path);
  }
}
