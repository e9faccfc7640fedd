import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { SendenseError } from '@sendense/core';
import { silentLogger as log } from '@sendense/runtime';
import { requires } from '@sendense/runtime/testing';
import { removePoint } from '../src/chains/remove-point.js';
import type { BackupEvent } from '../src/runs/index.js';
import { IncrementalStage } from './stage/incremental-stage.js';
import { NOTHING_LEFT } from './stage/spine.js';

const MIB = 2 ** 20;
const KIB = 2 ** 10;

requires(
  describe,
  'qemu-nbd',
  'qemu-img',
)('an incremental backup', () => {
  let stage: IncrementalStage;
  let spine: IncrementalStage['spine'];
  let vm: IncrementalStage['vm'];
  let node: IncrementalStage['node'];
  let contextId: string;

  beforeEach(async () => {
    stage = await IncrementalStage.start();
    ({ spine, vm, node, contextId } = stage);
  });
  afterEach(() => stage[Symbol.asyncDispose]());

  describe('whose changed areas turn out to be unusable', () => {
    it('reads that disk in full onto nothing, whatever the point before held', async () => {
      const first = await stage.full();
      // Data of the parent where the disk has zeros now, which nobody writes into the new image.
      vm.disk(2000).zero(MIB, 256 * KIB);
      vm.disk(2000).fill(2 * MIB, 64 * KIB, 'new');
      vm.disk(2001).fill(0, 4096, 'other');
      vm.fullReasons.set(2000, 'change_id_stale');
      const record = await stage.incremental();
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
      expect(await stage.areDisks(record)).toEqual([true, true]);

      const { path } = await spine.repository();
      const point = await spine.catalog.restorePoints.get(record.id);
      expect(point).toMatchObject({
        type: 'incremental',
        disks: [{ backupType: 'full', reason: 'change_id_stale', parentPointId: undefined }, {}],
      });
      expect(await stage.images.backingChain(join(path, point.disks[0]!.imagePath))).toHaveLength(1);
      expect(await stage.manifestOf(record.id)).toMatchObject({
        disks: [
          { backup_type: 'full', reason: 'change_id_stale', parent: null },
          { backup_type: 'incremental', parent: { backup_id: first.id } },
        ],
      });
      expect(await spine.leftovers(node)).toEqual(NOTHING_LEFT);
    });

    it('tells it as it happens', async () => {
      await stage.full();
      vm.fullReasons.set(2001, 'disk_reverted');
      const { id } = await stage.incremental();
      const events: BackupEvent[] = [];
      for await (const event of spine.runs.events(id, 0)) events.push(event);
      expect(events.filter((event) => event.type === 'disk' && event.full)).toMatchObject([
        { diskKey: 2001, full: { reason: 'disk_reverted', detail: 'vCenter said disk_reverted' } },
      ]);
    });

    it('is a full that the next one builds on', async () => {
      await stage.full();
      for (const { key } of vm.disks) vm.fullReasons.set(key, 'change_id_foreign');
      const full = await stage.incremental();
      expect((await spine.catalog.restorePoints.get(full.id)).type).toBe('full');
      vm.fullReasons.clear();
      vm.disk(2000).fill(0, 4096, 'since');
      const next = await stage.incremental();
      expect(next).toMatchObject({ disks: [{ parentPointId: full.id }, { parentPointId: full.id }] });
      expect(await stage.areDisks(next)).toEqual([true, true]);
    });
  });

  describe('whose chain is in doubt', () => {
    it('is a full', async () => {
      const { id } = await stage.full();
      await spine.catalog.restorePoints.markSuspect([id], 'its verification failed');
      expect(await stage.plannedReasons()).toEqual(['parent_suspect', 'parent_suspect']);
      expect(await stage.incremental()).toMatchObject({
        state: 'completed',
        disks: [{ backupType: 'full', reason: 'parent_suspect' }, { backupType: 'full' }],
      });
      expect(await stage.plannedReasons()).toEqual(['changed_blocks', 'changed_blocks']);
    });

    it('is a full for those disks whose chain goes through a suspect point', async () => {
      const { id } = await stage.full();
      vm.fullReasons.set(2001, 'change_id_stale');
      await stage.incremental();
      await spine.catalog.restorePoints.markSuspect([id], 'its verification failed');
      expect(await stage.plannedReasons()).toEqual(['parent_suspect', 'changed_blocks']);
    });

    it('is in doubt as well when what it builds on failed verification meanwhile', async () => {
      const { id } = await stage.full();
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
      await stage.full();
      vm.disk(2000).fill(0, MIB, 'second');
      const second = await stage.incremental();
      vm.disk(2000).fill(0, 64 * 1024, 'third');
      await stage.incremental();
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
      await expect(
        removePoint(second.id, { catalog, repositories, images: stage.images }, work),
      ).rejects.toMatchObject({
        code: 'repository_missing',
      });
      expect(await stage.plannedReasons()).toEqual(['changed_blocks', 'changed_blocks']);
      vm.disk(2000).fill(MIB, 64 * 1024, 'fourth');
      const fourth = await stage.incremental();
      expect(fourth).toMatchObject({
        state: 'completed',
        warnings: [],
        disks: [{ backupType: 'incremental' }, {}],
      });
      expect(fourth.disks[0]?.auditedBlocks).toBeGreaterThan(0);
      expect(await stage.areDisks(fourth)).toEqual([true, true]);
    });

    it('is a full when an image below the newest has gone', async () => {
      const first = await stage.full();
      await stage.incremental();
      const { path } = await spine.repository();
      const [disk] = (await spine.catalog.restorePoints.get(first.id)).disks;
      await rm(join(path, disk!.imagePath));
      expect(await stage.plannedReasons()).toEqual(['parent_missing', 'changed_blocks']);
      expect(await stage.incremental()).toMatchObject({
        state: 'completed',
        disks: [{ backupType: 'full' }, {}],
      });
    });
  });
});
