// Asks Prisma's own engine whether a catalogue's history is complete: prisma-history FILE. A process of its own, because
// jest cannot load WebAssembly modules.
import { PrismaBetterSqlite3 } from '@prisma/adapter-better-sqlite3';
import { bindMigrationAwareSqlAdapterFactory } from '@prisma/driver-adapter-utils';
import { SchemaEngine } from '@prisma/schema-engine-wasm';
import { MIGRATIONS_FOLDER, readMigrations } from '../src/migrate.js';

const adapter = bindMigrationAwareSqlAdapterFactory(
  new PrismaBetterSqlite3({ url: `file:${process.argv[2] ?? ''}` }),
);
const engine = await SchemaEngine.new({ datamodels: undefined }, () => {}, adapter);
const found = await engine.diagnoseMigrationHistory({
  migrationsList: {
    baseDir: MIGRATIONS_FOLDER,
    lockfile: { path: 'migration_lock.toml', content: 'provider = "sqlite"\n' },
    shadowDbInitScript: '',
    migrationDirectories: (await readMigrations(MIGRATIONS_FOLDER)).map(({ name, sql }) => ({
      path: name,
      migrationFile: { path: 'migration.sql', content: { tag: 'ok', value: sql } },
    })),
  },
  optInToShadowDatabase: false,
  filters: { externalTables: [], externalEnums: [] },
});
const clean =
  found.hasMigrationsTable &&
  found.history === null &&
  found.editedMigrationNames.length === 0 &&
  found.failedMigrationNames.length === 0;
if (!clean) {
  console.error(JSON.stringify(found));
  process.exitCode = 1;
}
