import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import type { LabVm } from '@sendense/lab';
import { eventually, requires } from '@sendense/runtime/testing';
import { Constellation, CONSTELLATION_TOOLS, NOTHING_LEFT, type BackupBody } from './constellation.js';

const MIB = 2 ** 20;

/** Slow enough to be interrupted: the first disk takes some ten seconds. */
const SLOW = { SENDENSE_RATE_LIMIT: String(4 * MIB) };

requires(describe, ...CONSTELLATION_TOOLS)('the whole path, interrupted', () => {
  let all: Constellation;
  let vm: LabVm;

  beforeAll(async () => {
    all = await Constellation.start({ settings: SLOW, timing: { nodeLostMs: 4_000 } });
    vm = await all.addVm(
      {
        name: 'pgtest1',
        changeTrackingEnabled: true,
        disks: [{ sizeBytes: 48 * MIB }, { sizeBytes: 8 * MIB, controller: 'scsi1' }],
      },
      40 * MIB,
    );
  });

  afterAll(async () => {
    await all[Symbol.asyncDispose]();
  });

  afterEach(async () => {
    all.lab.clearFaults();
    await eventually('nothing is left', () => {
      expect(all.leftovers()).toEqual(NOTHING_LEFT);
      return true;
    });
    const { created, removed } = all.lab.snapshotHistory(vm.moref);
    expect(removed).toBe(created);
  });

  it('ends when it is cancelled', async () => {
    const { backup_id: id } = await all.flowing('pgtest1');
    expect((await all.hub.post(`/api/v1/backups/${id}/cancel`, {})).status).toBeLessThan(300);
    expect(await all.end(id)).toMatchObject({ state: 'cancelled' });
  });

  it('fails when qemu-nbd dies, with its name and end', async () => {
    const backup = await all.flowing('pgtest1');
    process.kill(backup.disk_results[0]!.qemu_nbd_pid, 'SIGKILL');
    expect(await all.end(backup.backup_id)).toMatchObject({
      state: 'failed',
      error: {
        code: 'qemu_nbd_died',
        message: expect.stringMatching(/^qemu-nbd.*pgtest1-disk0.*signal SIGKILL.*journalctl.*try again/),
      },
    });
  });

  it('fails when the node is stopped in the middle, and the node removes its snapshot', async () => {
    const { backup_id: id } = await all.flowing('pgtest1');
    await all.stopNode();
    expect(await all.end(id)).toMatchObject({
      state: 'failed',
      error: {
        code: expect.stringMatching(/^(node_lost|shutting_down|tunnel_lost)$/),
        message: expect.stringMatching(
          /^node site-1 .*start the backup again|out of reach.*Check its network/,
        ),
      },
    });
    await all.startNode();
  });

  it('ends clearly when the tunnel is cut, and works again once it is back', async () => {
    const { backup_id: id } = await all.flowing('pgtest1');
    await all.hub.hub.context.tunnel.disconnectNode(Constellation.nodeName, 'cut by the test');
    const ended = await all.end(id);
    expect(ended).toMatchObject({
      state: 'failed',
      error: {
        code: 'tunnel_lost',
        message: expect.stringMatching(
          /^the hub .* ended the connection; .*connects again by itself: start the backup again/,
        ),
      },
    });
    await eventually('the node is back', async () => (await all.nodeState()) === 'online');
    const { backup_id: again } = await all.flowing('pgtest1');
    await all.hub.post(`/api/v1/backups/${again}/cancel`, {});
    expect(await all.end(again)).toMatchObject({ state: 'cancelled' });
  });

  it('fails with what vCenter said when the snapshot cannot be taken', async () => {
    all.lab.setFault({
      operation: 'CreateSnapshot_Task',
      fault: 'TooManySnapshotLevels',
      message: 'too many',
    });
    const { backup_id: id } = (await all.start('pgtest1')).body as unknown as BackupBody;
    expect(await all.end(id)).toMatchObject({
      state: 'failed',
      error: {
        code: 'snapshot_create_failed',
        message: expect.stringMatching(
          /pgtest1.*too many snapshots \(consolidate or remove old ones\).*TooManySnapshotLevels: too many/,
        ),
      },
    });
  });

  it('refuses a second backup of the VM meanwhile, and a third one works', async () => {
    const { backup_id: id } = await all.flowing('pgtest1');
    const second = await all.start('pgtest1');
    expect(second).toMatchObject({
      body: {
        code: 'backup_already_running',
        detail: expect.stringMatching(
          /^a backup of pgtest1 is running already \(.*\): wait for it, or cancel it$/,
        ),
      },
    });
    expect(second.status).toBeGreaterThanOrEqual(400);
    await all.hub.post(`/api/v1/backups/${id}/cancel`, {});
    await all.end(id);
    const { backup_id: third } = await all.flowing('pgtest1');
    await all.hub.post(`/api/v1/backups/${third}/cancel`, {});
    expect(await all.end(third)).toMatchObject({ state: 'cancelled' });
  });
});
