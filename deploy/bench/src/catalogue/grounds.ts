import { execFileSync } from 'node:child_process';
import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { MARIADBD, MariaDbServer } from '@sendense/catalog/testing';
import { MARIADB, seedStatements, SQLITE, type SeededNames } from './seed.js';

/** A database that can be filled behind the hub's back. */
export interface Ground extends AsyncDisposable {
  readonly name: string;
  /** Undefined is SQLite, in the hub's data directory. */
  readonly url: string | undefined;
  seed(names: SeededNames): Promise<void>;
  sizeMib(): number;
}

/** Those that there are here: SQLite, and MariaDB where its server is installed. */
export function openGrounds(): ((folder: string) => Promise<Ground>)[] {
  return existsSync(MARIADBD) ? [openSqliteGround, openMariaDbGround] : [openSqliteGround];
}

async function openSqliteGround(folder: string): Promise<Ground> {
  const path = join(folder, 'data', 'catalog.db');
  return Promise.resolve({
    name: 'SQLite',
    url: undefined,
    seed: async (names) => seedSqlite(path, names),
    sizeMib: () => Math.round(statSync(path).size / 2 ** 20),
    [Symbol.asyncDispose]: async () => Promise.resolve(),
  });
}

/** Without the indexes, which are made afterwards: that takes a fraction of the time. */
async function seedSqlite(path: string, names: SeededNames): Promise<void> {
  using database = new DatabaseSync(path, { enableForeignKeyConstraints: false });
  database.exec('PRAGMA synchronous = OFF; PRAGMA cache_size = -500000; PRAGMA temp_store = MEMORY');
  const indexes = database
    .prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND sql LIKE 'CREATE INDEX%'")
    .all() as { name: string; sql: string }[];
  for (const { name } of indexes) database.exec(`DROP INDEX "${name}"`);
  for (const statements of seedStatements(names, SQLITE)) {
    database.exec(['BEGIN', ...statements, 'COMMIT'].join(';'));
    // This thread does nothing else for a minute: let it notice when it is to end.
    await nextTurn();
  }
  for (const { sql } of indexes) database.exec(sql);
  database.exec('PRAGMA wal_checkpoint(TRUNCATE)');
}

async function openMariaDbGround(folder: string): Promise<Ground> {
  const server = await MariaDbServer.start(['--innodb-buffer-pool-size=1G', '--innodb-log-file-size=256M'], {
    parent: folder,
  });
  const database = await server.newDatabase();
  const [row] = await database.query<{ version: string }>('SELECT VERSION() AS version');
  return {
    name: `MariaDB ${/^[\d.]+/.exec(row?.version ?? '')?.[0] ?? ''}`,
    url: database.url,
    seed: async (names) => {
      const session = `SET foreign_key_checks = 0, unique_checks = 0, time_zone = '+00:00'`;
      for (const statements of seedStatements(names, MARIADB))
        await database.query([session, 'BEGIN', ...statements, 'COMMIT'].join(';'));
    },
    sizeMib: () =>
      Number(execFileSync('du', ['-sm', database.dataDirectory], { encoding: 'utf8' }).split('\t')[0]),
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}
