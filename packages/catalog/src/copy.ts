import { createHash, type Hash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { isAbsolute } from 'node:path';
import { SendenseError } from '@sendense/core';
import type { Logger } from '@sendense/runtime';
import type { Database, Transaction } from './database.js';
import { HubLock } from './hub-lock.js';
import { openMariaDb } from './mariadb.js';
import { mariaDbTarget, type MariaDbTarget } from './mariadb-target.js';
import { MARIADB_MIGRATIONS_FOLDER, MIGRATIONS_FOLDER, readMigrations } from './migrate.js';
import { openSqlite } from './sqlite.js';

/** A file of SQLite, by its absolute path, or a database of MariaDB. */
export type CatalogLocation = { readonly file: string } | { readonly database: MariaDbTarget };

/** @param url `sqlite:/path/catalog.db`, or as {@link mariaDbTarget} @throws `invalid_config` */
export function catalogLocation(url: string, passwordFile?: string): CatalogLocation {
  if (!url.startsWith('sqlite:')) return { database: mariaDbTarget(url, passwordFile) };
  const file = url.slice('sqlite:'.length).replace(/^\/\/(?=\/)/, '');
  if (!isAbsolute(file) || passwordFile !== undefined)
    throw new SendenseError(
      'invalid_config',
      'a catalogue in a file is sqlite:/absolute/path/catalog.db, and has no password',
    );
  return { file };
}

/** Every table with its primary key, in an order in which each row finds the rows that it refers to. */
export const COPIED = [
  ['repository', 'id'],
  ['node', 'name'],
  ['enrolmentToken', 'secretHash'],
  ['vmwareCredential', 'id'],
  ['vmContext', 'contextId'],
  ['vmDisk', 'diskId'],
  ['backupJob', 'id'],
  ['backupDisk', 'backupId', 'diskKey'],
  ['restorePoint', 'id'],
  ['restorePointDisk', 'restorePointId', 'diskNumber'],
  ['restoreMount', 'id'],
  ['auditEvent', 'id'],
  ['apiToken', 'id'],
  ['cleanup', 'id'],
  ['chainLock', 'id'],
  ['task', 'id'],
  ['retentionPolicy', 'id'],
  ['tally', 'name'],
] as const;
type TableName = (typeof COPIED)[number][0];

export interface CopiedTable {
  readonly table: TableName;
  readonly rows: number;
}

const ROWS_AT_ONCE = 500;
const DAY_MS = 86_400_000;

/**
 * Copies everything from one catalogue into another, which must be empty, and compares what arrived with what was there,
 * in one transaction: the copy is complete or not there. Both are brought up to the schema of this build first.
 * `credential.key` is no part of it. No hub may run on either of them: of a file that is the caller's to see to.
 *
 * @throws `catalog_in_use`; `not_found` for a source that is not there, `conflict` when the target holds something, `catalog_damaged` when
 * what was read back differs
 */
export async function copyCatalog(
  from: CatalogLocation,
  to: CatalogLocation,
  log: Logger,
): Promise<CopiedTable[]> {
  if ('file' in from && !existsSync(from.file))
    throw new SendenseError('not_found', `there is no catalogue ${from.file}`, {
      context: { path: from.file },
    });
  await using owned = new AsyncDisposableStack();
  for (const location of [from, to])
    if ('database' in location) owned.use(await HubLock.acquire(location.database, log));
  const source = owned.use(await open(from, log));
  const target = owned.use(await open(to, log));
  const options = { timeoutMs: DAY_MS };
  return await source.transaction(
    (reading) => target.transaction((writing) => copyTables(reading, writing), options),
    options,
  );
}

async function open(location: CatalogLocation, log: Logger): Promise<Database> {
  const isFile = 'file' in location;
  const migrations = await readMigrations(isFile ? MIGRATIONS_FOLDER : MARIADB_MIGRATIONS_FOLDER);
  const how = { log, migrations, now: () => new Date() };
  return isFile ? openSqlite(location.file, how) : openMariaDb(location.database, how);
}

async function copyTables(reading: Transaction, writing: Transaction): Promise<CopiedTable[]> {
  for (const [name] of COPIED)
    if ((await table(writing, name).findMany({ take: 1 })).length > 0)
      throw new SendenseError(
        'conflict',
        `the target is not empty (${name}): a catalogue is copied into an empty database only`,
        { context: { table: name } },
      );
  const copied: CopiedTable[] = [];
  for (const [name, ...key] of COPIED) {
    const sent = createHash('sha256');
    const arrived = createHash('sha256');
    let rows = 0;
    for await (const chunk of chunks(table(reading, name), key)) {
      await table(writing, name).createMany({ data: chunk });
      digest(sent, chunk);
      rows += chunk.length;
    }
    for await (const chunk of chunks(table(writing, name), key)) digest(arrived, chunk);
    if (sent.digest('hex') !== arrived.digest('hex'))
      throw new SendenseError(
        'catalog_damaged',
        `the table ${name} did not arrive as it was: nothing was copied`,
        { context: { table: name } },
      );
    copied.push({ table: name, rows });
  }
  return copied;
}

type Row = Readonly<Record<string, unknown>>;

/** What all models of the client have in common. */
interface Table {
  findMany(o: {
    take: number;
    skip?: number;
    cursor?: Row;
    orderBy?: readonly Record<string, 'asc'>[];
  }): Promise<Row[]>;
  createMany(o: { data: readonly Row[] }): Promise<unknown>;
}

function table(client: Transaction, name: TableName): Table {
  return client[name] as unknown as Table;
}

/** In the order of the primary key, which is that of bytes in every database. */
async function* chunks(rows: Table, key: readonly string[]): AsyncGenerator<Row[]> {
  const orderBy = key.map((column) => ({ [column]: 'asc' as const }));
  for (let last: Row | undefined; ;) {
    const chunk = await rows.findMany({
      take: ROWS_AT_ONCE,
      orderBy,
      ...(last === undefined ? {} : { skip: 1, cursor: cursor(last, key) }),
    });
    if (chunk.length > 0) yield chunk;
    if (chunk.length < ROWS_AT_ONCE) return;
    last = chunk.at(-1);
  }
}

/** Prisma calls a key of several columns by all of their names. */
function cursor(row: Row, key: readonly string[]): Row {
  const values = Object.fromEntries(key.map((column) => [column, row[column]]));
  return key.length === 1 ? values : { [key.join('_')]: values };
}

function digest(hash: Hash, rows: readonly Row[]): void {
  for (const row of rows)
    hash.update(
      JSON.stringify(Object.entries(row), (_, value: unknown) =>
        typeof value === 'bigint' ? `${value}n` : value,
      ),
    );
}
