import { cpSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from '@jest/globals';
import { temporaryDirectory } from '@sendense/runtime/testing';
import { MARIADB_MIGRATIONS_FOLDER, MIGRATIONS_FOLDER, readMigrations } from '../src/migrate.js';
import { describeOnEach } from './databases.js';
import { Stage } from './stage.js';

const AT = '2026-11-21T08:43:16.000';

/** Rows that every version could hold: two repositories, and points and backups of a VM. */
const ROWS = [
  `INSERT INTO repositories VALUES ('repo-1', 'one', 'local', '/one', '${AT}'), ('repo-2', 'two', 'local', '/two', '${AT}')`,
  `INSERT INTO vm_replication_contexts (context_id, moref, instance_uuid, name, power_state, host_moref, host_name,
    guest_full_name, created_at, updated_at)
    VALUES ('ctx-1', 'vm-57', '5020', 'pgtest1', 'poweredOn', 'host-1', 'esx1', 'Debian', '${AT}', '${AT}')`,
  ...['backup-1', 'backup-2'].map(
    (
      id,
    ) => `INSERT INTO restore_points (id, context_id, vm_name, vm_instance_uuid, repository_id, type, taken_at, sealed_at,
    quiesced, manifest_path) VALUES ('${id}', 'ctx-1', 'pgtest1', '5020', 'repo-1', 'full', '${AT}', '${AT}', 1, 'm')`,
  ),
  ...[
    ['backup-1', 'completed'],
    ['backup-2', 'completed'],
    ['backup-3', 'cancelled'],
  ].map(
    ([
      id,
      state,
    ]) => `INSERT INTO backup_jobs (id, context_id, vm_name, vm_instance_uuid, repository_id, node_name, type, quiesce,
    requested_by, state, created_at, started_at, ended_at, cancel_reason, warnings, last_event_sequence)
    VALUES ('${id}', 'ctx-1', 'pgtest1', '5020', 'repo-1', 'node-1', 'full', 0, 'token:1', '${state}', '${AT}', '${AT}', '${AT}',
    'no', '[]', 4)`,
  ),
].join(';');

/** What a version that keeps tallies has counted meanwhile. */
const TALLIES = `INSERT INTO tallies (name, value)
  VALUES ('restore_points/repo-1', 2), ('backups/completed', 2), ('backups/cancelled', 1)`;

describeOnEach('a catalogue of every earlier version', () => {
  it('is brought up to date, and what is counted is counted', async () => {
    const stages: Stage[] = [];
    try {
      const probe = await Stage.open();
      stages.push(probe);
      const source = probe.database ? MARIADB_MIGRATIONS_FOLDER : MIGRATIONS_FOLDER;
      const all = (await readMigrations(source)).map(({ name }) => name);
      for (let version = 1; version <= all.length; version++) {
        using folder = temporaryDirectory();
        for (const name of all.slice(0, version))
          cpSync(join(source, name), join(folder.path, name), { recursive: true });
        const stage = await Stage.openAs(folder.path);
        stages.push(stage);
        expect(stage.catalog.schemaVersion).toBe(all[version - 1]);
        await stage.close();
        const isLatest = version === all.length;
        if (!isLatest) await stage.execute(ROWS);
        const counts = all.slice(0, version).some((name) => name.endsWith('_tallies_and_indexes'));
        if (!isLatest && counts) await stage.execute(TALLIES);

        const { repositories, backups, restorePoints, schemaVersion } = await stage.reopen();
        expect(schemaVersion).toBe(all.at(-1));
        if (isLatest) continue;
        const counted = (await repositories.list()).map(({ id, backupCount }) => [id, backupCount]);
        expect(counted).toEqual([
          ['repo-1', 2],
          ['repo-2', 0],
        ]);
        expect(await backups.countByState()).toMatchObject({
          completed: 2,
          cancelled: 1,
          failed: 0,
          running: 0,
        });
        await restorePoints.beginRemoval('backup-1');
        await restorePoints.concludeRemoval('backup-1', []);
        expect((await repositories.get('repo-1')).backupCount).toBe(1);
      }
    } finally {
      for (const stage of stages) await stage[Symbol.asyncDispose]();
    }
  });
});
