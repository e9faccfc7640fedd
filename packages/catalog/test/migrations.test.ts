import { cpSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { PrismaBetterSqlite3 } from '@prisma/adapter-better-sqlite3';
import { ChildProcess, silentLogger as log } from '@sendense/runtime';
import { eventually, temporaryDirectory } from '@sendense/runtime/testing';
import { openCatalog, type CatalogOptions } from '../src/index.js';
import { MIGRATIONS_FOLDER, readMigrations } from '../src/migrate.js';
import { Stage } from './stage.js';

const child = (script: string, ...args: string[]) =>
  ChildProcess.spawn(process.execPath, [join(import.meta.dirname, script), ...args], {
    name: script,
    owner: `test-catalog-${process.pid}`,
    log,
  });

/** The migrations of this build, and one more. */
function withMigration(folder: string, sql: string, name = '29990101000000_more'): string {
  const migrationsFolder = join(folder, 'migrations');
  cpSync(MIGRATIONS_FOLDER, migrationsFolder, { recursive: true });
  mkdirSync(join(migrationsFolder, name), { recursive: true });
  writeFileSync(join(migrationsFolder, name, 'migration.sql'), sql);
  return migrationsFolder;
}

async function openAndClose(options: Omit<CatalogOptions, 'log'>): Promise<string> {
  await using catalog = await openCatalog({ ...options, log });
  return catalog.schemaVersion;
}

/**
 * Asks through the same library that the catalogue uses: two copies of SQLite in one process take each other's locks away
 * (https://www.sqlite.org/howtocorrupt.html, 2.2.1).
 */
async function query(directory: string, sql: string): Promise<Record<string, unknown>[]> {
  const adapter = await new PrismaBetterSqlite3({ url: `file:${join(directory, 'catalog.db')}` }).connect();
  try {
    const { columnNames, rows } = await adapter.queryRaw({ sql, args: [], argTypes: [] });
    return rows.map((row) => Object.fromEntries(columnNames.map((name, index) => [name, row[index]])));
  } finally {
    await adapter.dispose();
  }
}

const tables = async (directory: string) =>
  (await query(directory, `SELECT name FROM sqlite_master WHERE type = 'table'`)).map((row) =>
    String(row['name']),
  );

describe('the schema', () => {
  it('is made at the first start, in a file that only its owner can read', async () => {
    await using stage = await Stage.open();
    await stage.addRepository();
    expect(await tables(stage.directory)).toEqual(
      expect.arrayContaining([
        'vm_replication_contexts',
        'vm_disks',
        'vmware_credentials',
        'repositories',
        'nodes',
        'backup_jobs',
        'backup_disks',
        'restore_points',
        'restore_point_disks',
        'restore_mounts',
        'audit_events',
        'api_tokens',
        'cleanups',
        'chain_locks',
        'tasks',
        'retention_policies',
      ]),
    );
    for (const file of ['catalog.db', 'catalog.db-wal', 'catalog.db-shm', 'credential.key'])
      expect(statSync(join(stage.directory, file)).mode & 0o777).toBe(0o600);
    expect(await query(stage.directory, 'PRAGMA journal_mode')).toEqual([{ journal_mode: 'wal' }]);
  });

  it('keeps a history that Prisma itself accepts', async () => {
    await using stage = await Stage.open();
    await stage.reopen();
    const migrations = await readMigrations(MIGRATIONS_FOLDER);
    expect(
      await query(
        stage.directory,
        'SELECT migration_name, checksum, applied_steps_count, rolled_back_at, logs, finished_at >= started_at AS finished FROM _prisma_migrations',
      ),
    ).toEqual(
      migrations.map(({ name, checksum }) => ({
        migration_name: name,
        checksum,
        applied_steps_count: 1,
        rolled_back_at: null,
        logs: null,
        finished: 1,
      })),
    );
    await stage.close();
    const engine = await child('prisma-history.js', join(stage.directory, 'catalog.db'));
    expect(await engine.exited).toMatchObject({ exitCode: 0 });
  });

  it('is brought up to date by a newer build, and then refused by the older one by name', async () => {
    using folder = temporaryDirectory();
    const directory = join(folder.path, 'data');
    await openAndClose({ directory });
    const migrationsFolder = withMigration(folder.path, 'ALTER TABLE "nodes" ADD COLUMN "extra" TEXT;');
    expect(await openAndClose({ directory, migrationsFolder })).toBe('29990101000000_more');
    await expect(openAndClose({ directory })).rejects.toMatchObject({
      code: 'catalog_schema_newer',
      message: expect.stringContaining('29990101000000_more'),
    });
  });

  it('refuses a migration that was changed after it was applied', async () => {
    using folder = temporaryDirectory();
    const directory = join(folder.path, 'data');
    const migrationsFolder = withMigration(folder.path, 'CREATE TABLE "more" ("id" TEXT);');
    await openAndClose({ directory, migrationsFolder });
    withMigration(folder.path, 'CREATE TABLE "more" ("id" INTEGER);');
    await expect(openAndClose({ directory, migrationsFolder })).rejects.toMatchObject({
      code: 'catalog_damaged',
      context: { migration: '29990101000000_more' },
    });
  });

  it('applies a migration as a whole or not at all', async () => {
    using folder = temporaryDirectory();
    const directory = join(folder.path, 'data');
    const migrationsFolder = withMigration(
      folder.path,
      'CREATE TABLE "more" ("id" TEXT); INSERT INTO "nowhere" VALUES (1);',
    );
    await expect(openAndClose({ directory, migrationsFolder })).rejects.toMatchObject({
      message: expect.stringMatching(/29990101000000_more.*no such table: nowhere/),
    });
    expect(await tables(directory)).not.toContain('more');
    withMigration(folder.path, 'CREATE TABLE "more" ("id" TEXT);');
    await openAndClose({ directory, migrationsFolder });
    expect(await tables(directory)).toContain('more');
  });

  it('rebuilds a table without losing the rows that refer to it, and refuses to orphan them', async () => {
    await using stage = await Stage.open();
    const { vm } = await stage.addVm();
    await stage.close();
    using folder = temporaryDirectory();
    // As Prisma writes it: the table is dropped while others refer to it, ON DELETE CASCADE.
    const rebuild = (rows: string) => `PRAGMA defer_foreign_keys=ON;
      PRAGMA foreign_keys=OFF;
      CREATE TABLE "new_nodes" AS SELECT * FROM "nodes" ${rows};
      DROP TABLE "nodes";
      CREATE TABLE "nodes" ("name" TEXT NOT NULL PRIMARY KEY, "state" TEXT NOT NULL, "public_key" TEXT,
        "created_at" DATETIME NOT NULL, "enrolled_at" DATETIME, "revoked_at" DATETIME, "version" TEXT,
        "commit_hash" TEXT, "last_seen_at" DATETIME, "checks" TEXT NOT NULL);
      INSERT INTO "nodes" SELECT * FROM "new_nodes";
      DROP TABLE "new_nodes";
      PRAGMA foreign_keys=ON;
      PRAGMA defer_foreign_keys=OFF;`;
    const { directory } = stage;
    await expect(
      openAndClose({ directory, migrationsFolder: withMigration(folder.path, rebuild('WHERE 0')) }),
    ).rejects.toMatchObject({
      code: 'catalog_damaged',
      message: expect.stringContaining('refer to nothing'),
    });
    const migrationsFolder = withMigration(folder.path, rebuild(''));
    await using catalog = await openCatalog({ directory, migrationsFolder, log });
    expect(await catalog.vms.get(vm.contextId)).toEqual(vm);
  });

  it('survives kill -9 in the middle of a migration', async () => {
    using folder = temporaryDirectory();
    const directory = join(folder.path, 'data');
    await openAndClose({ directory });
    const endless = `CREATE TABLE "more" ("id" TEXT);
      INSERT INTO "more" WITH RECURSIVE "n"("i") AS (SELECT 1 UNION ALL SELECT "i" + 1 FROM "n")
      SELECT hex(randomblob(500)) FROM "n";`;
    const migrationsFolder = withMigration(folder.path, endless);
    const victim = await child('open-catalog.js', directory, migrationsFolder);
    await eventually(
      'the migration has written a few megabytes',
      () => statSync(join(directory, 'catalog.db-wal'), { throwIfNoEntry: false })!.size > 4_000_000,
    );
    process.kill(victim.pid, 'SIGKILL');
    expect(await victim.exited).toMatchObject({ signal: 'SIGKILL' });
    expect(await tables(directory)).not.toContain('more');
    withMigration(folder.path, 'CREATE TABLE "more" ("id" TEXT);');
    await openAndClose({ directory, migrationsFolder });
    expect(await query(directory, 'SELECT count(*) AS n FROM "more"')).toEqual([{ n: 0 }]);
  });

  it('is made once when several processes start at the same time', async () => {
    using folder = temporaryDirectory();
    const directory = join(folder.path, 'data');
    const started = await Promise.all(Array.from({ length: 4 }, () => child('open-catalog.js', directory)));
    for (const process of started)
      expect({ ...(await process.exited), said: process.stderrTail() }).toMatchObject({
        exitCode: 0,
        said: '',
      });
    expect(await query(directory, 'SELECT count(*) AS n FROM _prisma_migrations')).toEqual([
      { n: (await readMigrations(MIGRATIONS_FOLDER)).length },
    ]);
    expect(readFileSync(join(directory, 'credential.key'), 'utf8').match(/^[0-9a-f]{8} /gm)).toHaveLength(1);
  });
});

describe('a file that is no catalogue', () => {
  it('is refused', async () => {
    using folder = temporaryDirectory();
    const path = join(folder.path, 'catalog.db');
    writeFileSync(path, 'this is a text, and a long one, so that it cannot be a header'.repeat(50));
    await expect(openAndClose({ directory: folder.path })).rejects.toMatchObject({ code: 'catalog_damaged' });
    expect(readFileSync(path, 'utf8')).toContain('this is a text');
  });

  it('is refused when it was one and is damaged', async () => {
    await using stage = await Stage.open();
    for (let index = 0; index < 200; index++)
      await stage.catalog.audit.append({ action: 'x'.repeat(400), actor: 'a', outcome: 'ok' });
    await stage.close();
    const path = join(stage.directory, 'catalog.db');
    const bytes = readFileSync(path);
    for (let page = 8; page * 4096 < bytes.length; page++)
      bytes.fill(0xff, page * 4096 + 16, page * 4096 + 200);
    writeFileSync(path, bytes);
    await expect(openAndClose({ directory: stage.directory })).rejects.toMatchObject({
      code: 'catalog_damaged',
      message: expect.stringContaining(path),
    });
  });

  it('is refused when its folder cannot be written', async () => {
    using folder = temporaryDirectory();
    writeFileSync(join(folder.path, 'file'), '');
    await expect(openAndClose({ directory: join(folder.path, 'file') })).rejects.toMatchObject({
      code: 'permission_denied',
    });
  });

  it('is made anew when it is gone', async () => {
    await using stage = await Stage.open();
    await stage.addRepository();
    await stage.close();
    for (const name of ['catalog.db', 'catalog.db-wal', 'catalog.db-shm'])
      rmSync(join(stage.directory, name), { force: true });
    const catalog = await stage.reopen();
    expect(await catalog.repositories.list()).toEqual([]);
  });
});
