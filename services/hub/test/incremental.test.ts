import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import type { BackupRecord } from '@sendense/catalog';
import { SendenseError } from '@sendense/core';
import { QemuImg } from '@sendense/qemu';
import { silentLogger as log } from '@sendense/runtime';
import { requires } from '@sendense/runtime/testing';
import { removePoint } from '../src/chains/remove-point.js';
import { parseManifest } from '../src/runs/manifest.js';
import type { BackupEvent } from '../src/runs/index.js';
import { FakeNode } from './stage/fake-node.js';
import type { FakeVm } from './stage/fake-vm.js';
import { NOTHING_LEFT, Spine, type SpineOptions } from './stage/spine.js';

const MIB = 2 ** 20;
const KIB = 2 ** 10;

requires(
  describe,
  'qemu-nbd',
  'qemu-img',
)('an incremental backup', () => {
  let node: FakeNode;
  let spine: Spine;
  let vm: FakeVm;
  let contextId: string;
  const images = new QemuImg({});

  beforeEach(async () => setUp());
  afterEach(async () => tearDown());

  async function setUp(options: SpineOptions = {}): Promise<void> {
    node = await FakeNode.start();
    // Every block is audited, so that no test depends on luck.
    spine = await Spine.start(node, { cbtAuditBlocks: 4096, ...options });
    vm = node.addVm('pgtest1', [
      { key: 2000, sizeBytes: 3 * MIB + 512 },
      { key: 2001, sizeBytes: 2 * MIB },
    ]);
    contextId = await spine.protect(vm);
  }

  async function tearDown(): Promise<void> {
    await spine[Symbol.asyncDispose]();
    await node[Symbol.asyncDispose]();
  }

  const incremental = () => spine.backUp(contextId, { type: 'incremental' });

  /** Per disk of a point, whether its image is the disk as it is now. */
  async function areDisks({ id }: BackupRecord): Promise<boolean[]> {
    const { path } = await spine.repository();
    const same: boolean[] = [];
    for (const { imagePath, diskKey } of (await spine.catalog.restorePoints.get(id)).disks) {
      const raw = join(spine.folder, 'source.raw');
      await writeFile(raw, vm.disk(diskKey).content);
      const formats = { formatA: 'qcow2', formatB: 'raw' } as const;
      same.push((await images.compare(join(path, imagePath), raw, formats)).identical);
    }
    return same;
  }

  async function manifestOf(id: string) {
    const { path } = await spine.repository();
    const { manifestPath } = await spine.catalog.restorePoints.get(id);
    return parseManifest(await readFile(join(path, manifestPath), 'utf8'), manifestPath);
  }

  async function plannedReasons(): Promise<string[]> {
    const plan = await spine.runs.plan(await spine.request(contextId, { type: 'incremental' }));
    return plan.disks.map(({ reason }) => reason);
  }

  describe('whose changed areas turn out to be unusable', () => {
    it('reads that disk in full onto nothing, whatever the point before held', async () => {
      const first = await spine.backUp(contextId);
      // Data of the parent where the disk has zeros now, which nobody writes into the new image.
      vm.disk(2000).zero(MIB, 256 * KIB);
      vm.disk(2000).fill(2 * MIB, 64 * KIB, 'new');
      vm.disk(2001).fill(0, 4096, 'other');
      vm.fullReasons.set(2000, 'change_id_stale');
      const record = await incremental();
      expect(record).toMatchObject({
        state: 'completed',
        disks: [
          {
            backupType: 'full',
            reason: 'change_id_stale',
            reasonDetail: 'vCenter said change_id_stale',
            parentPointId: undefined,
            auditedBlocks: undefined,
          },
          { backupType: 'incremental', reason: 'changed_blocks', parentPointId: first.id },
        ],
      });
      expect(record.warnings.map(({ code }) => code)).toEqual(['change_id_stale']);
      expect(await areDisks(record)).toEqual([true, true]);

      const { path } = await spine.repository();
      const point = await spine.catalog.restorePoints.get(record.id);
      expect(point).toMatchObject({
        type: 'incremental',
        disks: [{ backupType: 'full', reason: 'change_id_stale', parentPointId: undefined }, {}],
      });
      expect(await images.backingChain(join(path, point.disks[0]!.imagePath))).toHaveLength(1);
      expect(await manifestOf(record.id)).toMatchObject({
        disks: [
          { backup_type: 'full', reason: 'change_id_stale', parent: null },
          { backup_type: 'incremental', parent: { backup_id: first.id } },
        ],
      });
      expect(await spine.leftovers(node)).toEqual(NOTHING_LEFT);
    });

    it('tells it as it happens', async () => {
      await spine.backUp(contextId);
      vm.fullReasons.set(2001, 'disk_reverted');
      const { id } = await incremental();
      const events: BackupEvent[] = [];
      for await (const event of spine.runs.events(id, 0)) events.push(event);
      expect(events.filter((event) => event.type === 'disk' && event.full)).toMatchObject([
        { diskKey: 2001, full: { reason: 'disk_reverted', detail: 'vCenter said disk_reverted' } },
      ]);
    });

    it('is a full that the next one builds on', async () => {
      await spine.backUp(contextId);
      for (const { key } of vm.disks) vm.fullReasons.set(key, 'change_id_foreign');
      const full = await incremental();
      expect((await spine.catalog.restorePoints.get(full.id)).type).toBe('full');
      vm.fullReasons.clear();
      vm.disk(2000).fill(0, 4096, 'since');
      const next = await incremental();
      expect(next).toMatchObject({ disks: [{ parentPointId: full.id }, { parentPointId: full.id }] });
      expect(await areDisks(next)).toEqual([true, true]);
    });
  });

  describe('whose chain is in doubt', () => {
    it('is a full', async () => {
      const { id } = await spine.backUp(contextId);
      await spine.catalog.restorePoints.markSuspect([id], 'its verification failed');
      expect(await plannedReasons()).toEqual(['parent_suspect', 'parent_suspect']);
      expect(await incremental()).toMatchObject({
        state: 'completed',
        disks: [{ backupType: 'full', reason: 'parent_suspect' }, { backupType: 'full' }],
      });
      expect(await plannedReasons()).toEqual(['changed_blocks', 'changed_blocks']);
    });

    it('is a full for those disks whose chain goes through a suspect point', async () => {
      const { id } = await spine.backUp(contextId);
      vm.fullReasons.set(2001, 'change_id_stale');
      await incremental();
      await spine.catalog.restorePoints.markSuspect([id], 'its verification failed');
      expect(await plannedReasons()).toEqual(['parent_suspect', 'changed_blocks']);
    });

    it('is in doubt as well when what it builds on failed verification meanwhile', async () => {
      const { id } = await spine.backUp(contextId);
      vm.disk(2000).fill(0, 4096, 'changed');
      const hold = node.hold('copying');
      const running = await spine.start(contextId, { type: 'incremental' });
      await hold.reached;
      await spine.catalog.restorePoints.markSuspect([id], 'its verification failed');
      hold.release();
      await spine.end(running.id);
      expect(await spine.catalog.restorePoints.get(running.id)).toMatchObject({
        suspect: true,
        suspectReason: `it builds on ${id}, which is suspect: its verification failed`,
      });
    });

    it('builds on a point whose data a removal that is not finished has moved, and is audited', async () => {
      await spine.backUp(contextId);
      vm.disk(2000).fill(0, MIB, 'second');
      const second = await incremental();
      vm.disk(2000).fill(0, 64 * 1024, 'third');
      await incremental();
      const { catalog, repositories } = spine;
      const onStep = (step: string) => {
        if (step === 'remove manifest') throw new SendenseError('repository_missing', 'it is away');
      };
      const work = {
        signal: new AbortController().signal,
        log,
        progress: () => {},
        commit: () => {},
        onStep,
      };
      await expect(removePoint(second.id, { catalog, repositories, images }, work)).rejects.toMatchObject({
        code: 'repository_missing',
      });
      expect(await plannedReasons()).toEqual(['changed_blocks', 'changed_blocks']);
      vm.disk(2000).fill(MIB, 64 * 1024, 'fourth');
      const fourth = await incremental();
      expect(fourth).toMatchObject({
        state: 'completed',
        warnings: [],
        disks: [{ backupType: 'incremental' }, {}],
      });
      expect(fourth.disks[0]?.auditedBlocks).toBeGreaterThan(0);
      expect(await areDisks(fourth)).toEqual([true, true]);
    });

    it('is a full when an image below the newest has gone', async () => {
      const first = await spine.backUp(contextId);
      await incremental();
      const { path } = await spine.repository();
      const [disk] = (await spine.catalog.restorePoints.get(first.id)).disks;
      await rm(join(path, disk!.imagePath));
      expect(await plannedReasons()).toEqual(['parent_missing', 'changed_blocks']);
      expect(await incremental()).toMatchObject({ state: 'completed', disks: [{ backupType: 'full' }, {}] });
    });
  });

  describe('and what changed block tracking says', () => {
    it('is found true: the number of blocks that were looked at is kept', async () => {
      await spine.backUp(contextId);
      vm.disk(2000).fill(MIB, 64 * KIB, 'changed');
      const record = await incremental();
      // 49 blocks, the last of one sector, of which one was changed; 32 blocks of which none was.
      expect(record.disks.map(({ auditedBlocks }) => auditedBlocks)).toEqual([48, 32]);
      expect((await manifestOf(record.id)).disks.map((disk) => disk.audited_blocks)).toEqual([48, 32]);
    });

    it.each([
      ['in data', 64 * KIB],
      ['in what was a hole', 2 * MIB],
      ['in the last, partial block', 3 * MIB],
    ])('is found to be a lie %s: it fails, and the next is a full', async (_, offset) => {
      const first = await spine.backUp(contextId);
      const second = await incremental();
      vm.disk(2000).fillUntold(offset, 512);
      const record = await incremental();
      expect(record).toMatchObject({
        state: 'failed',
        error: {
          code: 'cbt_audit_failed',
          context: {
            disk_key: '2000',
            offset: String(offset),
            missed_blocks: '1',
            restore_point_id: second.id,
          },
        },
      });
      expect(await spine.leftovers(node)).toEqual(NOTHING_LEFT);
      const points = await spine.catalog.restorePoints.ofContext(contextId, (await spine.repository()).id);
      expect(points.map(({ id, suspect }) => [id, suspect])).toEqual([
        [second.id, true],
        [first.id, false],
      ]);
      expect(points[0]?.suspectReason).toContain(`disk 2000 of pgtest1 changed at byte ${offset}`);
      expect((await spine.catalog.audit.list({ action: 'restore_point.suspect' })).items).toMatchObject([
        {
          subjectId: second.id,
          outcome: 'failed',
          detail: { reason: 'cbt_audit_failed', backup_id: record.id },
        },
      ]);

      expect(await plannedReasons()).toEqual(['parent_suspect', 'parent_suspect']);
      const full = await incremental();
      expect(full).toMatchObject({
        state: 'completed',
        disks: [{ backupType: 'full' }, { backupType: 'full' }],
      });
      expect(await areDisks(full)).toEqual([true, true]);
      expect(await incremental()).toMatchObject({
        state: 'completed',
        disks: [{ backupType: 'incremental' }, {}],
      });
    });

    it('is not asked about a disk that had to be read in full', async () => {
      await spine.backUp(contextId);
      vm.disk(2000).fillUntold(0, 512);
      vm.fullReasons.set(2000, 'change_id_stale');
      const record = await incremental();
      expect(record.state).toBe('completed');
      expect(await areDisks(record)).toEqual([true, true]);
    });

    it('is believed when the audit is turned off', async () => {
      await tearDown();
      await setUp({ cbtAuditBlocks: 0 });
      await spine.backUp(contextId);
      const record = await incremental();
      expect(record.disks[0]?.auditedBlocks).toBe(0);
      expect(node.started.at(-1)?.disks.map(({ auditBlocks }) => auditBlocks)).toEqual([[], []]);
    });

    it('is not audited with hashes that cannot be read, and says so', async () => {
      const { id } = await spine.backUp(contextId);
      const { path } = await spine.repository();
      const [disk] = (await spine.catalog.restorePoints.get(id)).disks;
      await writeFile(join(path, disk!.hashesPath!), 'not hashes');
      const record = await incremental();
      expect(record.state).toBe('completed');
      expect(record.warnings).toMatchObject([{ code: 'cbt_audit_skipped', context: { disk_key: '2000' } }]);
    });
  });
});
