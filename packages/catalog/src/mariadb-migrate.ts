import { createHash, randomUUID } from 'node:crypto';
import { SendenseError } from '@sendense/core';
import type { Logger } from '@sendense/runtime';
import type { Connection } from 'mariadb';
import { databaseError, databaseMessage } from './database-errors.js';
import { pendingMigrations, type HistoryRow, type Migration } from './migrate.js';

/** As Prisma's tools make it, so that they can read the history and go on with it. */
const HISTORY_TABLE = `CREATE TABLE IF NOT EXISTS \`_prisma_migrations\` (
    id                      VARCHAR(36) PRIMARY KEY NOT NULL,
    checksum                VARCHAR(64) NOT NULL,
    finished_at             DATETIME(3),
    migration_name          VARCHAR(255) NOT NULL,
    logs                    TEXT,
    rolled_back_at          DATETIME(3),
    started_at              DATETIME(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
    applied_steps_count     INTEGER UNSIGNED NOT NULL DEFAULT 0
) DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci`;

/** How long one hub waits for another that migrates, seconds. */
const LOCK_WAIT_S = 120;

interface Options {
  readonly database: string;
  /** For messages. */
  readonly label: string;
  readonly log: Logger;
}

/**
 * Applies what is missing, on a connection with `multipleStatements`. MariaDB commits after every change of a table, so a
 * migration is not whole or not there as in SQLite: each of its statements can run again, and one that was begun and not
 * finished runs again from its first. Hubs that start at the same time wait for each other.
 *
 * @returns the name of the newest migration
 * @throws `catalog_schema_newer`, `catalog_damaged`, `timeout` when another hub does not come to an end
 */
export async function migrateMariaDb(
  connection: Connection,
  migrations: readonly Migration[],
  options: Options,
): Promise<string> {
  const lock = lockName(options.database);
  await takeLock(connection, lock, options.label);
  try {
    await requireOwnTables(connection, options);
    await connection.query(HISTORY_TABLE);
    const history = await readHistory(connection);
    // Those that were begun count as not there, so that they are pending; their content must be the same all the same.
    pendingMigrations(
      migrations,
      history.map((row) => ({ ...row, finished: true })),
      options.label,
    );
    const finished = history.filter((row) => row.finished);
    for (const migration of pendingMigrations(migrations, finished, options.label))
      await apply(connection, migration, options);
    return migrations.at(-1)?.name ?? '';
  } finally {
    // The lock ends with the connection, too.
    await connection.query('DO RELEASE_LOCK(?)', [lock]).catch(() => {});
  }
}

/** Names of locks are the server's, not the database's, and have 64 characters at most. */
function lockName(database: string): string {
  return `sendense-schema-${createHash('sha256').update(database).digest('hex').slice(0, 32)}`;
}

async function takeLock(connection: Connection, lock: string, label: string): Promise<void> {
  const rows = await connection.query<{ got: number | bigint | null }[]>('SELECT GET_LOCK(?, ?) AS got', [
    lock,
    LOCK_WAIT_S,
  ]);
  if (Number(rows[0]?.got) === 1) return;
  throw new SendenseError(
    'timeout',
    `the catalogue ${label}: another Sendense hub has been changing its schema for more than ${LOCK_WAIT_S} s; wait for it, or end it`,
    { retryable: true, context: { path: label } },
  );
}

/** What has no history is empty, or not ours: `CREATE TABLE IF NOT EXISTS` would take a stranger's table for our own. */
async function requireOwnTables(connection: Connection, { database, label }: Options): Promise<void> {
  const rows = await connection.query<{ name: string }[]>(
    'SELECT TABLE_NAME AS name FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? ORDER BY TABLE_NAME',
    [database],
  );
  const names = rows.map((row) => row.name);
  if (names.length === 0 || names.includes('_prisma_migrations')) return;
  throw new SendenseError(
    'catalog_damaged',
    `the database ${label} holds tables and no history of migrations (first: ${names[0]}): it is not a catalogue of Sendense. ` +
      `Give it an empty database of its own, or put back a copy of the catalogue`,
    { context: { path: label } },
  );
}

async function apply(connection: Connection, migration: Migration, { label, log }: Options): Promise<void> {
  const { name, sql, checksum } = migration;
  await connection.query(
    'DELETE FROM `_prisma_migrations` WHERE migration_name = ? AND finished_at IS NULL',
    [name],
  );
  const id = randomUUID();
  await connection.query(
    'INSERT INTO `_prisma_migrations` (id, checksum, migration_name, started_at) VALUES (?, ?, ?, UTC_TIMESTAMP(3))',
    [id, checksum, name],
  );
  try {
    await connection.query(sql);
  } catch (error) {
    const known = databaseError(error, label);
    if (known instanceof SendenseError) throw known;
    throw new SendenseError(
      'internal',
      `the migration ${name} of the catalogue ${label} failed: ${databaseMessage(error)}; it runs again at the next start`,
      { cause: error, context: { path: label, migration: name } },
    );
  }
  await connection.query(
    'UPDATE `_prisma_migrations` SET finished_at = UTC_TIMESTAMP(3), applied_steps_count = 1 WHERE id = ?',
    [id],
  );
  log.info({ migration: name, path: label }, 'catalogue schema migrated');
}

async function readHistory(connection: Connection): Promise<HistoryRow[]> {
  const rows = await connection.query<{ name: string; checksum: string; finished: number | bigint }[]>(
    'SELECT migration_name AS name, checksum, finished_at IS NOT NULL AS finished FROM `_prisma_migrations` WHERE rolled_back_at IS NULL',
  );
  return rows.map(({ name, checksum, finished }) => ({ name, checksum, finished: Number(finished) === 1 }));
}
