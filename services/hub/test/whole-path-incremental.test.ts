import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import type { GuestWrite, LabVm } from '@sendense/lab';
import { QemuImg } from '@sendense/qemu';
import { eventually, requires } from '@sendense/runtime/testing';
import { parseManifest } from '../src/runs/manifest.js';
import { Constellation, CONSTELLATION_TOOLS, NOTHING_LEFT, type BackupBody } from './constellation.js';

const MIB = 2 ** 20;
const KIB = 2 ** 10;
/** In which changed block tracking counts. */
const BLOCK = 64 * KIB;

requires(describe, ...CONSTELLATION_TOOLS)('the whole path of an incremental', () => {
  let all: Constellation;

  beforeAll(async () => {
    // Every block that is called unchanged is looked at.
    all = await Constellation.start({ settings: { SENDENSE_CBT_AUDIT_BLOCKS: '4096' } });
  });

  afterAll(async () => {
    await all[Symbol.asyncDispose]();
  });

  afterEach(async () => {
    all.lab.clearFaults();
    await eventually('nothing is left', async () => {
      expect(all.leftovers()).toEqual(NOTHING_LEFT);
      expect(await all.hub.hub.context.catalog.chainLocks.list()).toEqual([]);
      return true;
    });
  });

  const incremental = ({ name }: LabVm) => all.backUp(name, { backup_type: 'incremental' });

  const point = ({ backup_id: id }: BackupBody) => all.hub.hub.context.catalog.restorePoints.get(id);

  async function manifestDisk(ended: BackupBody, index: number) {
    const { manifestPath } = await point(ended);
    const text = await readFile(join(all.repository.path, manifestPath), 'utf8');
    return parseManifest(text, manifestPath).disks[index]!;
  }

  async function isIdentical(vm: LabVm, ended: BackupBody): Promise<void> {
    expect(ended).toMatchObject({ state: 'completed', error: null });
    const same = Object.fromEntries(ended.disk_results.map(({ disk_key: key }) => [key, true]));
    expect(await all.compare(vm, ended)).toEqual(same);
  }

  describe('reads what changed, and nothing else', () => {
    const end = 24 * MIB;
    let vm: LabVm;
    let last: BackupBody;

    beforeAll(async () => {
      const disks = [{ sizeBytes: end + 512 }, { sizeBytes: 8 * MIB, controller: 'scsi1' as const }];
      vm = await all.addVm({ name: 'pgtest1', disks }, 6 * MIB);
      await all.lab.guestWrite(vm.moref, 2000, { offset: 10 * MIB, zeros: MIB });
      last = await all.backUp(vm.name);
    });

    // What the guest writes, and the 64 KiB blocks that this touches: those with data, those that are zeros now.
    const changes: [string, GuestWrite[], number, number][] = [
      ['data to data', [{ offset: MIB, random: 'a', length: 2 * BLOCK }], 2, 0],
      ['data to zeros', [{ offset: 2 * MIB, zeros: 3 * BLOCK }], 0, 3],
      ['a hole to data', [{ offset: 16 * MIB, random: 'b', length: BLOCK }], 1, 0],
      ['zeros to data', [{ offset: 10 * MIB, random: 'c', length: BLOCK }], 1, 0],
      ['a hole to zeros', [{ offset: 20 * MIB, zeros: BLOCK }], 0, 1],
      ['one byte', [{ offset: 3 * MIB + 77, data: Buffer.from([1]) }], 1, 0],
      [
        'one byte on each side of a border',
        [
          { offset: 4 * MIB - 1, data: Buffer.from([1]) },
          { offset: 4 * MIB, data: Buffer.from([2]) },
        ],
        2,
        0,
      ],
      [
        'ranges that overlap, the zeros first',
        [
          { offset: 5 * MIB, zeros: 4 * BLOCK },
          { offset: 5 * MIB + BLOCK, random: 'd', length: 2 * BLOCK },
          { offset: 5 * MIB + 2 * BLOCK - 100, random: 'e', length: 200 },
        ],
        2,
        2,
      ],
      ['the last, partial block', [{ offset: end, random: 'f', length: 512 }], 1 / 128, 0],
      ['the last, partial block, to zeros', [{ offset: end, zeros: 512 }], 0, 1 / 128],
    ];
    it.each(changes)('%s', async (_, writes, dataBlocks, zeroBlocks) => {
      await all.lab.guestWrite(vm.moref, 2000, writes);
      const ended = await incremental(vm);
      await isIdentical(vm, ended);
      expect(ended.disk_results).toMatchObject([
        { backup_type: 'incremental', reason: 'changed_blocks' },
        { backup_type: 'incremental', reason: 'changed_blocks', audited_blocks: 128 },
      ]);
      expect(await manifestDisk(ended, 0)).toMatchObject({
        extent_source: 'changed_areas',
        parent: { backup_id: last.backup_id },
        bytes_read: (dataBlocks + zeroBlocks) * BLOCK,
        bytes_written: dataBlocks * BLOCK,
        bytes_zeroed: zeroBlocks * BLOCK,
      });
      expect(await manifestDisk(ended, 1)).toMatchObject({ bytes_read: 0 });
      expect(all.lab.snapshots(vm.moref)).toEqual([]);
      last = ended;
    });

    it('nothing changed: it is small, and builds on a relative path', async () => {
      const ended = await incremental(vm);
      await isIdentical(vm, ended);
      for (const { qcow2_path: path, disk_number: number } of ended.disk_results) {
        const { blocks } = await stat(path);
        expect(blocks * 512).toBeLessThanOrEqual(MIB);
        expect(await manifestDisk(ended, number)).toMatchObject({ bytes_read: 0, bytes_written: 0 });
        const [own] = await new QemuImg({}).backingChain(path);
        expect(own?.backingFile).toMatch(/^backup-pgtest1-disk\d-[\d-]+\.qcow2$/);
      }
    });

    it('the disk is that of every earlier point as well', async () => {
      const { body } = await all.hub.get('/api/v1/backups?vm_name=pgtest1');
      const { backups } = body as unknown as { backups: BackupBody[] };
      expect(backups).toHaveLength(changes.length + 2);
      for (const backup of backups) await isIdentical(vm, backup);
    });
  });

  describe('becomes a full, identical and on its own, when', () => {
    type Change = (vm: LabVm) => Promise<unknown>;
    const fulls: { readonly when: string; readonly reason: string; readonly change: Change }[] = [
      {
        when: 'vCenter forgot what changed',
        reason: 'change_id_stale',
        change: ({ moref }) => all.lab.forgetChanges(moref),
      },
      {
        when: 'tracking started anew',
        reason: 'change_id_foreign',
        change: ({ moref }) => all.lab.resetChangeTracking(moref),
      },
      {
        when: 'the VM was reverted',
        reason: 'disk_reverted',
        change: ({ moref }) => all.lab.revertToSnapshot(moref, 'theirs'),
      },
      {
        when: 'tracking is off',
        reason: 'change_tracking_off',
        // Not enabled again, because somebody else's snapshot is there.
        change: ({ moref }) => all.lab.setChangeTracking(moref, false),
      },
      {
        when: 'vCenter contradicts itself',
        reason: 'changed_areas_invalid',
        change: async () =>
          all.lab.setFault({ operation: 'QueryChangedDiskAreas', lie: 'wrong_start_offset' }),
      },
      {
        when: 'the disk grew',
        reason: 'disk_resized',
        change: async ({ moref }) => {
          await all.lab.removeSnapshot(moref, 'theirs');
          await all.lab.growDisk(moref, 2000, 5 * MIB);
        },
      },
      {
        when: 'another disk has its place',
        reason: 'disk_replaced',
        change: ({ moref }) => all.lab.replaceDisk(moref, 2000),
      },
    ];
    it.each(fulls)('$when', async ({ reason, change }) => {
      const vm = await all.addVm({ name: `because-${reason}`, disks: [{ sizeBytes: 4 * MIB }] }, 2 * MIB);
      await all.lab.createSnapshot(vm.moref, { name: 'theirs' });
      await isIdentical(vm, await all.backUp(vm.name));
      await all.lab.guestWrite(vm.moref, 2000, { offset: MIB, zeros: MIB });
      await change(vm);
      await all.lab.guestWrite(vm.moref, 2000, { offset: 3 * MIB, random: 'since', length: 5000 });
      const ended = await incremental(vm);
      await isIdentical(vm, ended);
      expect(ended.disk_results).toMatchObject([{ backup_type: 'full', reason, audited_blocks: null }]);
      expect(await manifestDisk(ended, 0)).toMatchObject({ backup_type: 'full', reason, parent: null });
      expect((await point(ended)).type).toBe('full');
      expect(await new QemuImg({}).backingChain(ended.disk_results[0]!.qcow2_path)).toHaveLength(1);
    });

    it('the one before had no changeId; the one after is incremental again', async () => {
      const vm = await all.addVm({ name: 'no-change-id', disks: [{ sizeBytes: 4 * MIB }] });
      await all.lab.setChangeTracking(vm.moref, false);
      // It is enabled again, and starts with the snapshot of this one.
      await all.backUp(vm.name);
      for (const reason of ['no_change_id', 'changed_blocks']) {
        await all.lab.guestWrite(vm.moref, 2000, { offset: MIB, random: reason, length: BLOCK });
        const ended = await incremental(vm);
        await isIdentical(vm, ended);
        expect(ended.disk_results).toMatchObject([{ reason }]);
      }
    });

    it('a disk is new, while the others stay incremental; one that is gone is left out', async () => {
      const disks = [{ sizeBytes: 4 * MIB }, { sizeBytes: 2 * MIB }];
      const vm = await all.addVm({ name: 'comes-and-goes', disks }, MIB);
      await all.backUp(vm.name);
      const { key } = await all.lab.addDisk(vm.moref, { sizeBytes: 3 * MIB });
      await all.lab.guestWrite(vm.moref, key, { offset: 0, random: 'new', length: MIB });
      await all.lab.removeDisk(vm.moref, 2001);
      const ended = await incremental(vm);
      await isIdentical(vm, ended);
      expect(ended.disk_results).toMatchObject([
        { disk_key: 2000, backup_type: 'incremental' },
        { disk_key: key, backup_type: 'full', reason: 'disk_added', disk_number: 2 },
      ]);
    });
  });

  describe('when changed block tracking lies', () => {
    it.each(['no_areas', 'omit_areas'] as const)(
      '%s: it fails loudly, and the next is a full',
      async (lie) => {
        const vm = await all.addVm({ name: `liar-${lie}`, disks: [{ sizeBytes: 8 * MIB }] }, 8 * MIB);
        const full = await all.backUp(vm.name);
        for (const offset of [MIB, 3 * MIB, 5 * MIB])
          await all.lab.guestWrite(vm.moref, 2000, { offset, random: 'changed', length: BLOCK });
        const fault = all.lab.setFault({ operation: 'QueryChangedDiskAreas', vm: vm.moref, lie });
        const failed = await incremental(vm);
        expect(failed).toMatchObject({ state: 'failed', error: { code: 'cbt_audit_failed' } });
        expect(await point(full)).toMatchObject({ suspect: true });
        all.lab.clearFaults(fault);
        const next = await incremental(vm);
        expect(next.disk_results).toMatchObject([{ backup_type: 'full', reason: 'parent_suspect' }]);
        await isIdentical(vm, next);
        await isIdentical(vm, await incremental(vm));
      },
    );
  });

  it('cancelled in the middle, it leaves the chain and its changeIds as they were', async () => {
    const vm = await all.addVm({ name: 'cancelled', disks: [{ sizeBytes: 8 * MIB }] });
    const full = await all.backUp(vm.name);
    await all.lab.guestWrite(vm.moref, 2000, { offset: 5 * MIB, random: 'one', length: MIB });
    all.lab.setFault({ operation: 'vddk.read', vm: vm.moref, delayMs: 5_000 });
    const { body } = await all.start(vm.name, { backup_type: 'incremental' });
    const id = String(body['backup_id']);
    await eventually('it reads', async () => (await all.backup(id)).disk_results[0]?.status === 'copying');
    await all.hub.post(`/api/v1/backups/${id}/cancel`, {});
    expect(await all.end(id)).toMatchObject({ state: 'cancelled' });
    all.lab.clearFaults();
    const { repositoryId, contextId } = await point(full);
    expect(await all.hub.hub.context.catalog.restorePoints.latest(contextId, repositoryId)).toEqual(
      await point(full),
    );
    await isIdentical(vm, full);

    await all.lab.guestWrite(vm.moref, 2000, { offset: 6 * MIB + 10, random: 'two', length: 100 });
    const ended = await incremental(vm);
    await isIdentical(vm, ended);
    // What changed before the one that was cancelled is in it too.
    expect(await manifestDisk(ended, 0)).toMatchObject({
      parent: { backup_id: full.backup_id },
      bytes_written: MIB + BLOCK,
    });
  });
});
