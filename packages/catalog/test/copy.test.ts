import { join } from 'node:path';
import { expect, it } from '@jest/globals';
import { PrismaBetterSqlite3 } from '@prisma/adapter-better-sqlite3';
import { silentLogger as log } from '@sendense/runtime';
import { temporaryDirectory } from '@sendense/runtime/testing';
import { catalogLocation, copyCatalog, openCatalog, type Catalog } from '../src/index.js';
import { COPIED } from '../src/copy.js';
import { describeOnMariaDb, mariaDb } from './databases.js';
import { sqliteSchema } from './schema-of.js';
import { ODD_NAMES, Stage } from './stage.js';

/** Everything that a catalogue shows, as far as the tests fill it. */
async function shown(catalog: Catalog) {
  return {
    repositories: await catalog.repositories.list(),
    nodes: await catalog.nodes.list(),
    vcenters: await catalog.vcenters.list(),
    vms: await catalog.vms.list(),
    backups: await catalog.backups.list(),
    points: await catalog.restorePoints.list(),
    tokens: await catalog.tokens.list(),
    audit: await catalog.audit.list({ limit: 1000 }),
  };
}

describeOnMariaDb('copying a catalogue', () => {
  it('brings everything from a file to MariaDB and back, passwords included', async () => {
    // Stages are on MariaDB here: the first copy leads out of it.
    await using stage = await Stage.open();
    const { vm, repositoryId } = await stage.addVm();
    const backup = await stage.begin(vm, repositoryId);
    await stage.runToSealing(backup);
    await stage.seal(backup);
    for (const name of ODD_NAMES) await stage.catalog.tokens.create({ name, role: 'viewer' });
    // More than are copied at once.
    await stage.execute(
      `INSERT INTO audit_events (at, action, actor, outcome, detail)
       SELECT '2026-11-21 08:00:00.123', CONCAT('a', seq), 'test', 'ok', '{}' FROM seq_1_to_600`,
    );
    const before = await shown(stage.catalog);
    await stage.close();

    const file = join(stage.directory, 'catalog.db');
    const copied = await copyCatalog(
      catalogLocation(stage.database!.url),
      catalogLocation(`sqlite:${file}`),
      log,
    );
    expect(copied).toContainEqual({ table: 'auditEvent', rows: 600 });
    {
      await using onFile = await openCatalog({ directory: stage.directory, log });
      expect(await shown(onFile)).toEqual(before);
      const [vcenter] = await onFile.vcenters.list();
      expect((await onFile.vcenters.connection(vcenter!.id)).password).toBe('secret');
    }
    const again = await (await mariaDb()).newDatabase();
    await copyCatalog(catalogLocation(`sqlite:${file}`), catalogLocation(again.url), log);
    await using catalog = await openCatalog({ directory: stage.directory, database: again.target, log });
    expect(await shown(catalog)).toEqual(before);
    // Numbers go on where they were.
    const next = await catalog.audit.append({ action: 'next', actor: 'test', outcome: 'ok' });
    expect(next.id).toBeGreaterThan(600);
  });

  it('leaves a target alone that holds something, and needs a source that is there', async () => {
    using folder = temporaryDirectory();
    await using stage = await Stage.open();
    await stage.addRepository();
    const here = catalogLocation(stage.database!.url);
    const file = join(folder.path, 'catalog.db');
    await expect(copyCatalog(catalogLocation(`sqlite:${file}`), here, log)).rejects.toMatchObject({
      code: 'not_found',
    });
    await (await openCatalog({ directory: folder.path, log }))[Symbol.asyncDispose]();
    await expect(copyCatalog(catalogLocation(`sqlite:${file}`), here, log)).rejects.toMatchObject({
      code: 'conflict',
    });
    expect(await stage.catalog.repositories.list()).toHaveLength(1);
    expect(() => catalogLocation('sqlite:catalog.db')).toThrow(
      expect.objectContaining({ code: 'invalid_config' }),
    );
  });

  it('knows every table', async () => {
    using folder = temporaryDirectory();
    await (await openCatalog({ directory: folder.path, log }))[Symbol.asyncDispose]();
    const adapter = await new PrismaBetterSqlite3({
      url: `file:${join(folder.path, 'catalog.db')}`,
    }).connect();
    const tables = Object.keys(await sqliteSchema(adapter));
    await adapter.dispose();
    expect(COPIED).toHaveLength(tables.length);
    expect(new Set(COPIED.map(([name]) => name)).size).toBe(tables.length);
  });
});
