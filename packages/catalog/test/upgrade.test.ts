import { cpSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { PrismaBetterSqlite3 } from '@prisma/adapter-better-sqlite3';
import { silentLogger as log } from '@sendense/runtime';
import { temporaryDirectory } from '@sendense/runtime/testing';
import { openCatalog } from '../src/index.js';
import { MIGRATIONS_FOLDER, readMigrations } from '../src/migrate.js';

const AT = '2026-11-21T08:43:16.000+00:00';

/** What a hub of the first release left: a VM with a full and an incremental, mounted, and a failed backup. */
const FIRST_RELEASE = `
INSERT INTO repositories VALUES ('repo-1', 'main', 'local', '/backup', '${AT}');
INSERT INTO nodes (name, state, created_at, checks) VALUES ('node-1', 'enrolled', '${AT}', '[]');
INSERT INTO vmware_credentials VALUES ('vc-1', 'vc', 'node-1', 'vc.test', 'u', 'sealed', 'AB', '${AT}', '${AT}');
INSERT INTO vm_replication_contexts VALUES
  ('ctx-1', 'vc-1', 'vm-57', '5020', 'pgtest1', 'poweredOn', 'host-1', 'esx1', 'Debian', '${AT}', '${AT}');
INSERT INTO vm_disks (disk_id, context_id, disk_number, disk_key, label, backing_uuid, backing_file, datastore,
  capacity_bytes, controller_key, unit_number)
  VALUES ('ctx-1-disk0', 'ctx-1', 0, 2000, 'Hard disk 1', '6000', '[ds1] a.vmdk', 'ds1', 1073741824, 1000, 0);
INSERT INTO backup_jobs (id, context_id, vm_name, vm_instance_uuid, repository_id, node_name, type, quiesce, requested_by,
  state, created_at, started_at, ended_at, error, warnings, last_event_sequence)
  VALUES ('backup-3', 'ctx-1', 'pgtest1', '5020', 'repo-1', 'node-1', 'full', 0, 'token:1', 'failed', '${AT}', '${AT}',
    '${AT}', '{"code":"node_lost","message":"gone","context":{}}', '[]', 4);
INSERT INTO backup_disks (backup_id, disk_key, disk_id, disk_number, label, backing_uuid, capacity_bytes, backup_type,
  reason, status, error, bytes_done, bytes_total, bytes_written, bytes_zeroed)
  VALUES ('backup-3', 2000, 'ctx-1-disk0', 0, 'Hard disk 1', '6000', 1073741824, 'full', 'requested', 'failed',
    '{"code":"node_lost","message":"gone","context":{}}', 1, 2, 3, 4);
INSERT INTO restore_points VALUES
  ('backup-1', 'ctx-1', 'pgtest1', '5020', 'repo-1', 'full', '${AT}', '${AT}', 1, 'ctx-1/manifests/backup-1.json'),
  ('backup-2', 'ctx-1', 'pgtest1', '5020', 'repo-1', 'incremental', '${AT}', '${AT}', 0, 'ctx-1/manifests/backup-2.json');
INSERT INTO restore_point_disks (restore_point_id, disk_number, disk_id, disk_key, label, backing_uuid, capacity_bytes,
  backup_type, reason, image_path, parent_point_id, bytes_read, stored_bytes) VALUES
  ('backup-1', 0, 'ctx-1-disk0', 2000, 'Hard disk 1', '6000', 1073741824, 'full', 'requested', 'a.qcow2', NULL, 5, 6),
  ('backup-2', 0, 'ctx-1-disk0', 2000, 'Hard disk 1', '6000', 1073741824, 'incremental', 'changed_blocks', 'b.qcow2', 'backup-1', 7, 8);
INSERT INTO restore_mounts VALUES ('mount-1', 'backup-2', 'ctx-1-disk0', '/mnt/1', '${AT}', '${AT}');
`;

describe('an upgrade from the first release', () => {
  it('keeps everything that was there, and knows nothing of what nobody looked at', async () => {
    using folder = temporaryDirectory();
    const directory = join(folder.path, 'data');
    const [initial] = await readMigrations(MIGRATIONS_FOLDER);
    const migrationsFolder = join(folder.path, 'migrations');
    cpSync(join(MIGRATIONS_FOLDER, initial!.name), join(migrationsFolder, initial!.name), {
      recursive: true,
    });
    await (await openCatalog({ directory, migrationsFolder, log }))[Symbol.asyncDispose]();
    const adapter = await new PrismaBetterSqlite3({ url: `file:${join(directory, 'catalog.db')}` }).connect();
    await adapter.executeScript(FIRST_RELEASE);
    await adapter.dispose();

    await using catalog = await openCatalog({ directory, log });
    expect(catalog.schemaVersion).not.toBe(initial!.name);
    expect(await catalog.vms.get('ctx-1')).toMatchObject({
      vcenterId: 'vc-1',
      nodeName: 'node-1',
      changeTracking: { state: 'unknown', detail: '' },
      disks: [{ diskId: 'ctx-1-disk0' }],
    });
    expect(await catalog.backups.get('backup-3')).toMatchObject({
      state: 'failed',
      disks: [{ bytesDone: 1, reasonDetail: undefined }],
    });
    const fresh = {
      ...{ state: 'sealed', suspect: false, suspectReason: undefined, verification: undefined },
      ...{ verifiedAt: undefined, verifiedFull: undefined, heldAt: undefined, holdReason: undefined },
      takenAt: new Date(AT),
    };
    expect(await catalog.restorePoints.get('backup-1')).toMatchObject({
      ...fresh,
      type: 'full',
      quiesced: true,
    });
    expect(await catalog.restorePoints.chain('backup-2')).toMatchObject([
      { id: 'backup-2', ...fresh, disks: [{ parentPointId: 'backup-1', bytesRead: 7 }] },
      { id: 'backup-1', ...fresh },
    ]);
    expect(await catalog.restoreMounts.list()).toMatchObject([{ id: 'mount-1', restorePointId: 'backup-2' }]);
    expect(await catalog.chainLocks.list()).toEqual([]);

    // The rows that refer to rebuilt tables still do: a mounted point stays, and so does a parent.
    await expect(catalog.restorePoints.beginRemoval('backup-2')).rejects.toMatchObject({
      code: 'chain_busy',
    });
    await catalog.restorePoints.beginRemoval('backup-1');
    await expect(catalog.restorePoints.concludeRemoval('backup-1', [])).rejects.toMatchObject({
      code: 'conflict',
      context: { child_point_id: 'backup-2' },
    });
    await expect(catalog.vms.remove('ctx-1')).rejects.toMatchObject({ code: 'conflict' });
    await catalog.vms.recordChangeTracking('ctx-1', { state: 'unavailable', detail: 'it has snapshots' });
    expect((await catalog.vms.get('ctx-1')).changeTracking).toEqual({
      state: 'unavailable',
      detail: 'it has snapshots',
    });
    await expect(
      catalog.vms.recordChangeTracking('none', { state: 'unknown', detail: '' }),
    ).rejects.toMatchObject({ code: 'vm_not_protected' });
  });
});
