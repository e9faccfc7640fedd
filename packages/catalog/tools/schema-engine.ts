import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { PrismaBetterSqlite3 } from '@prisma/adapter-better-sqlite3';
import { bindMigrationAwareSqlAdapterFactory, type SqlDriverAdapter } from '@prisma/driver-adapter-utils';
import { SchemaEngine } from '@prisma/schema-engine-wasm';

/** The package's root: this file runs as dist/tools/schema-engine.js. */
const packageRoot = join(import.meta.dirname, '..', '..');
export const migrationsFolder = join(packageRoot, 'migrations', 'sqlite');

// The engine reports a panic's reason here, and nowhere else.
Object.assign(globalThis, {
  PRISMA_WASM_PANIC_REGISTRY: {
    set_message: (message: string) => console.error(`schema engine: ${message}`),
  },
});

/** The engine sends a whole migration to `executeRaw`, which takes one statement in this driver. */
class ScriptingSqlite extends PrismaBetterSqlite3 {
  override async connectToShadowDb(): Promise<SqlDriverAdapter> {
    const adapter = await super.connectToShadowDb();
    const executeRaw = adapter.executeRaw.bind(adapter);
    adapter.executeRaw = async (query) => {
      if (query.args.length > 0) return executeRaw(query);
      await adapter.executeScript(query.sql);
      return 0;
    };
    return adapter;
  }
}

async function readSchema(): Promise<{ path: string; content: string }[]> {
  const folder = join(packageRoot, 'prisma');
  const names = (await readdir(folder)).filter((name) => name.endsWith('.prisma')).sort();
  return Promise.all(
    names.map(async (name) => ({
      path: join(folder, name),
      content: await readFile(join(folder, name), 'utf8'),
    })),
  );
}

async function readMigrations(): Promise<{ path: string; content: string }[]> {
  const entries = await readdir(migrationsFolder, { withFileTypes: true }).catch(() => []);
  const names = entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name);
  return Promise.all(
    names.sort().map(async (path) => ({
      path,
      content: await readFile(join(migrationsFolder, path, 'migration.sql'), 'utf8'),
    })),
  );
}

/**
 * Asks Prisma's schema engine, in this process and against a database in memory: the `prisma migrate` commands would need
 * its native binary. What leads from the migrations to the schema: SQL (`script`), or words.
 */
export async function schemaDifference(): Promise<{ script: string; summary: string; differs: boolean }> {
  const files = await readSchema();
  const adapter = bindMigrationAwareSqlAdapterFactory(new ScriptingSqlite({ url: ':memory:' }));
  const engine = await SchemaEngine.new(
    { datamodels: files.map(({ path, content }) => [path, content]) },
    () => {},
    adapter,
  );
  const migrations = (await readMigrations()).map(({ path, content }) => ({
    path,
    migrationFile: { path: 'migration.sql', content: { tag: 'ok' as const, value: content } },
  }));
  const difference = (script: boolean) =>
    engine.diff({
      from: {
        tag: 'migrations',
        baseDir: migrationsFolder,
        lockfile: { path: 'migration_lock.toml', content: 'provider = "sqlite"\n' },
        shadowDbInitScript: '',
        migrationDirectories: migrations,
      },
      to: { tag: 'schemaDatamodel', files },
      script,
      exitCode: true,
      filters: { externalTables: [], externalEnums: [] },
    });
  try {
    const sql = await difference(true);
    const words = await difference(false);
    return { script: sql.stdout ?? '', summary: words.stdout ?? '', differs: sql.exitCode !== 0 };
  } finally {
    engine.free();
  }
}
