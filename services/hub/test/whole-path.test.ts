import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { eventually, requires } from '@sendense/runtime/testing';
import { Constellation, CONSTELLATION_TOOLS, NOTHING_LEFT } from './constellation.js';

const MIB = 2 ** 20;

requires(describe, ...CONSTELLATION_TOOLS)('the whole path', () => {
  let all: Constellation;

  beforeAll(async () => {
    all = await Constellation.start();
  });

  afterAll(async () => {
    await all[Symbol.asyncDispose]();
  });

  async function nothingLeft(): Promise<void> {
    await eventually('nothing is left', () => {
      expect(all.leftovers()).toEqual(NOTHING_LEFT);
      return true;
    });
  }

  it('backs up a VM whole and identical, with one snapshot, after the answer that people know', async () => {
    const vm = await all.addVm({
      name: 'pgtest1',
      changeTrackingEnabled: true,
      disks: [{ sizeBytes: 24 * MIB + 512 }, { sizeBytes: 8 * MIB, controller: 'scsi1' }],
    });
    const { status, headers, body } = await all.start('pgtest1');
    expect(status).toBe(202);
    expect(headers.get('location')).toBe(`/api/v1/backups/${String(body['backup_id'])}`);
    const [first, second] = vm.disks.map(({ key }) => key);
    const ports = all.hub.config.nbdPorts;
    const { nbd_targets_string: targets } = await eventually('the targets are up', async () => {
      const now = await all.backup(String(body['backup_id']));
      return now.nbd_targets_string === '' ? undefined : now;
    });
    expect(targets).toBe(
      `${first}:nbd://127.0.0.1:${ports.first}/pgtest1-disk0,${second}:nbd://127.0.0.1:${ports.first + 1}/pgtest1-disk1`,
    );
    const ended = await all.end(String(body['backup_id']));
    expect(ended).toMatchObject({ state: 'completed', error: null, warnings: [] });
    expect(await all.compare(vm, ended)).toEqual({ [first!]: true, [second!]: true });
    expect(all.snapshotsSince(vm)).toEqual({ created: 1, removed: 1 });
    await nothingLeft();
  });

  it('backs up what changed since, onto the point before', async () => {
    const vm = all.lab.vm('pgtest1');
    const [first] = vm.disks;
    await all.lab.guestWrite(vm.moref, first!.key, { offset: 5 * MIB, random: 'more', length: MIB });
    await all.lab.guestWrite(vm.moref, first!.key, { offset: 0, zeros: MIB });
    const ended = await all.backUp('pgtest1', { backup_type: 'incremental' });
    expect(ended).toMatchObject({
      state: 'completed',
      disk_results: [{ backup_type: 'incremental' }, { backup_type: 'incremental' }],
    });
    expect(Object.values(await all.compare(vm, ended))).toEqual([true, true]);
    await nothingLeft();
  });
});
