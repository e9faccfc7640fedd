import { cpSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from '@jest/globals';
import { PrismaBetterSqlite3 } from '@prisma/adapter-better-sqlite3';
import { ChildProcess, silentLogger as log } from '@sendense/runtime';
import { eventually, temporaryDirectory } from '@sendense/runtime/testing';
import { openCatalog } from '../src/index.js';
import { MARIADB_MIGRATIONS_FOLDER, MIGRATIONS_FOLDER, readMigrations } from '../src/migrate.js';
import { childEnvironment } from './child-database.js';
import { describeOnMariaDb, mariaDb } from './databases.js';
import { mariaDbSchema, sqliteSchema } from './schema-of.js';
import type { OwnDatabase } from '../src/testing/mariadb-server.js';

const MORE = '29990101000000_more';

/** The migrations of this build, and one more. */
function withMigration(folder: string, sql: string): string {
  const migrationsFolder = join(folder, 'migrations');
  cpSync(MARIADB_MIGRATIONS_FOLDER, migrationsFolder, { recursive: true });
  mkdirSync(join(migrationsFolder, MORE), { recursive: true });
  writeFileSync(join(migrationsFolder, MORE, 'migration.sql'), sql);
  return migrationsFolder;
}

async function openAndClose(directory: string, database: OwnDatabase, migrationsFolder?: string) {
  const { target } = database;
  await using catalog = await openCatalog({
    ...{ directory, database: target, log },
    ...(migrationsFolder === undefined ? {} : { migrationsFolder }),
  });
  return catalog.schemaVersion;
}

const child = (database: OwnDatabase, ...args: string[]) =>
  ChildProcess.spawn(process.execPath, [join(import.meta.dirname, 'open-catalog.js'), ...args], {
    ...{ name: 'open-catalog', owner: `test-catalog-${process.pid}`, log },
    env: childEnvironment(database.url),
  });

const tableNames = async (database: OwnDatabase) =>
  (
    await database.query<{ name: string }>(
      'SELECT TABLE_NAME AS name FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE()',
    )
  ).map((row) => row.name);

describeOnMariaDb('the schema on MariaDB', () => {
  it('is that of SQLite, which is that of the models: columns, keys, indexes, foreign keys', async () => {
    using folder = temporaryDirectory();
    const database = await (await mariaDb()).newDatabase();
    await openAndClose(folder.path, database);
    const lite = join(folder.path, 'lite');
    await (await openCatalog({ directory: lite, log }))[Symbol.asyncDispose]();
    const adapter = await new PrismaBetterSqlite3({ url: `file:${join(lite, 'catalog.db')}` }).connect();
    try {
      const expected = await sqliteSchema(adapter);
      expect(Object.keys(expected)).toContain('vm_replication_contexts');
      expect(await mariaDbSchema(database)).toEqual(expected);
    } finally {
      await adapter.dispose();
    }
  });

  it('has a twin of every migration of SQLite since MariaDB was there', async () => {
    const names = async (folder: string) => (await readMigrations(folder)).map(({ name }) => name);
    const [initial = '', ...later] = await names(MARIADB_MIGRATIONS_FOLDER);
    const since = initial.slice(0, 14);
    expect((await names(MIGRATIONS_FOLDER)).filter((name) => name.slice(0, 14) > since)).toEqual(later);
  });

  it('compares bytes, holds every character, and keeps no table that could do otherwise', async () => {
    using folder = temporaryDirectory();
    const database = await (await mariaDb()).newDatabase();
    await openAndClose(folder.path, database);
    expect(
      await database.query(
        `SELECT DISTINCT COLLATION_NAME AS collation FROM information_schema.COLUMNS
         WHERE TABLE_SCHEMA = DATABASE() AND COLLATION_NAME IS NOT NULL AND TABLE_NAME <> '_prisma_migrations'`,
      ),
    ).toEqual([{ collation: 'utf8mb4_nopad_bin' }]);
    expect(
      await database.query(
        'SELECT DISTINCT ENGINE AS engine FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE()',
      ),
    ).toEqual([{ engine: 'InnoDB' }]);
  });

  it('is brought up to date by a newer build, and then refused by the older one by name', async () => {
    using folder = temporaryDirectory();
    const database = await (await mariaDb()).newDatabase();
    await openAndClose(folder.path, database);
    const newer = withMigration(
      folder.path,
      'ALTER TABLE `nodes` ADD COLUMN IF NOT EXISTS `extra` LONGTEXT NULL;',
    );
    expect(await openAndClose(folder.path, database, newer)).toBe(MORE);
    await expect(openAndClose(folder.path, database)).rejects.toMatchObject({
      code: 'catalog_schema_newer',
      message: expect.stringContaining(MORE),
    });
    const changed = withMigration(folder.path, 'SELECT 1;');
    await expect(openAndClose(folder.path, database, changed)).rejects.toMatchObject({
      code: 'catalog_damaged',
      context: { migration: MORE },
    });
  });

  it('goes on with a migration that failed or was killed in the middle', async () => {
    using folder = temporaryDirectory();
    const database = await (await mariaDb()).newDatabase();
    await openAndClose(folder.path, database);
    const sql = `CREATE TABLE IF NOT EXISTS more (id INT PRIMARY KEY) ENGINE=InnoDB;
      INSERT IGNORE INTO more SELECT id FROM nowhere;`;
    const migrationsFolder = withMigration(folder.path, sql);
    await expect(openAndClose(folder.path, database, migrationsFolder)).rejects.toMatchObject({
      code: 'catalog_damaged',
      message: expect.stringContaining('nowhere'),
    });
    expect(await tableNames(database)).toContain('more');
    // Held by a lock on the table, the next one hangs in the middle of the migration, and is killed there.
    await database.query(
      'CREATE TABLE nowhere (id INT PRIMARY KEY) ENGINE=InnoDB; INSERT INTO nowhere VALUES (7)',
    );
    const holding = database.query('LOCK TABLES nowhere WRITE; DO SLEEP(60); UNLOCK TABLES');
    holding.catch(() => {});
    const find = async (what: string) =>
      (
        await database.query<{ id: bigint }>(
          `SELECT ID AS id FROM information_schema.PROCESSLIST WHERE DB = DATABASE() AND INFO LIKE '%${what}%' AND ID <> CONNECTION_ID()`,
        )
      )[0]?.id;
    const holder = await eventually('the lock is held', async () => find('DO SLEEP'));
    const victim = await child(database, folder.path, migrationsFolder);
    await eventually('the migration waits', async () => find('INSERT IGNORE'));
    process.kill(victim.pid, 'SIGKILL');
    expect(await victim.exited).toMatchObject({ signal: 'SIGKILL' });
    await database.query(`KILL ${holder}`);
    expect(await openAndClose(folder.path, database, migrationsFolder)).toBe(MORE);
    expect(await database.query('SELECT id FROM more')).toEqual([{ id: 7 }]);
    expect(
      await database.query(
        `SELECT finished_at IS NOT NULL AS finished FROM _prisma_migrations WHERE migration_name = '${MORE}'`,
      ),
    ).toEqual([{ finished: 1 }]);
  });

  it('is made once when several processes start at the same time', async () => {
    using folder = temporaryDirectory();
    const database = await (await mariaDb()).newDatabase();
    const started = await Promise.all(Array.from({ length: 3 }, () => child(database, folder.path)));
    for (const process of started)
      expect({ ...(await process.exited), said: process.stderrTail() }).toMatchObject({
        exitCode: 0,
        said: '',
      });
    expect(
      await database.query(
        'SELECT migration_name AS name, finished_at >= started_at AS finished FROM _prisma_migrations ORDER BY migration_name',
      ),
    ).toEqual((await readMigrations(MARIADB_MIGRATIONS_FOLDER)).map(({ name }) => ({ name, finished: 1 })));
  });

  it('does not move in with tables of others, and says when its own are gone', async () => {
    using folder = temporaryDirectory();
    const server = await mariaDb();
    const strangers = await server.newDatabase();
    await strangers.query('CREATE TABLE nodes (id INT PRIMARY KEY)');
    await expect(openAndClose(folder.path, strangers)).rejects.toMatchObject({
      code: 'catalog_damaged',
      message: expect.stringContaining('nodes'),
    });
    expect(await tableNames(strangers)).toEqual(['nodes']);
    const own = await server.newDatabase();
    await openAndClose(folder.path, own);
    await own.query('SET foreign_key_checks = 0; DROP TABLE vmware_credentials');
    await expect(openAndClose(folder.path, own)).rejects.toMatchObject({ code: 'catalog_damaged' });
  });
});
