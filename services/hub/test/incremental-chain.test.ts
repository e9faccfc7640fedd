import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { eventually, requires } from '@sendense/runtime/testing';
import { FakeNode } from './stage/fake-node.js';
import type { FakeVm } from './stage/fake-vm.js';
import { NOTHING_LEFT, Spine } from './stage/spine.js';

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

  beforeEach(async () => {
    node = await FakeNode.start();
    spine = await Spine.start(node);
    vm = node.addVm('pgtest1', [
      { key: 2000, sizeBytes: 3 * MIB + 512 },
      { key: 2001, sizeBytes: 2 * MIB },
    ]);
    contextId = await spine.protect(vm);
  });

  afterEach(async () => {
    await spine[Symbol.asyncDispose]();
    await node[Symbol.asyncDispose]();
  });

  const incremental = () => spine.backUp(contextId, { type: 'incremental' });

  describe('as a dry run', () => {
    const preview = async () => spine.runs.plan(await spine.request(contextId, { type: 'incremental' }));

    it('says what it would build on, read, need and let go, and does nothing', async () => {
      const { id: repositoryId } = await spine.repository();
      const first = await spine.backUp(contextId);
      vm.disk(2000).fill(MIB, 64 * KIB, 'changed');
      const second = await incremental();
      await spine.catalog.retention.set(
        { contextId },
        { keepLast: 1, daily: 0, weekly: 0, monthly: 0, yearly: 0 },
      );
      const before = await spine.files();
      const plan = await preview();
      expect(plan).toMatchObject({
        vmName: 'pgtest1',
        repositoryId,
        ports: 2,
        portsFree: 10,
        expectedBytes: 64 * KIB,
        disks: [
          { type: 'incremental', expectedBytes: 64 * KIB, parent: { restorePointId: second.id } },
          { type: 'incremental', expectedBytes: 0 },
        ],
        // With the point that would be made: that is the one that stays.
        retention: { remove: [first.id, second.id] },
      });
      expect(plan.retention.mergeBytes).toBeGreaterThan(0);
      expect(plan.spaceNeededBytes).toBeGreaterThan(plan.expectedBytes);
      expect(await spine.files()).toEqual(before);
      expect(node.started).toHaveLength(2);
      expect((await spine.catalog.backups.list()).items).toHaveLength(2);
    });

    it('is refused as the backup would be', async () => {
      const hold = node.hold('accepted');
      const { id } = await spine.start(contextId);
      await hold.reached;
      await expect(preview()).rejects.toMatchObject({
        code: 'backup_already_running',
        context: { backup_id: id },
      });
      hold.release();
      await spine.end(id);
      node.cut();
      await expect(preview()).rejects.toMatchObject({ code: 'node_offline' });
      await expect(
        spine.runs.plan({ ...(await spine.request(contextId)), repositoryId: 'repo-none' }),
      ).rejects.toMatchObject({ code: 'repository_not_found' });
      await expect(spine.runs.plan(await spine.request('ctx-none'))).rejects.toMatchObject({
        code: 'vm_not_protected',
      });
    });
  });

  describe('and the chain that it builds on', () => {
    const exclusive = async () => ({
      contextId,
      repositoryId: (await spine.repository()).id,
      mode: 'exclusive' as const,
      purpose: 'remove',
      holderId: 'task-1',
    });

    it('keeps others from changing it until it has ended', async () => {
      const hold = node.hold('copying');
      const { id } = await spine.start(contextId);
      await hold.reached;
      expect(await spine.catalog.chainLocks.list()).toMatchObject([
        { mode: 'shared', purpose: 'backup', holderId: id },
      ]);
      await expect(spine.locks.acquire(await exclusive())).rejects.toMatchObject({ code: 'chain_busy' });
      hold.release();
      await spine.end(id);
      await using _lock = await spine.locks.acquire(await exclusive());
    });

    it('waits while it is being changed, says for what, and goes on', async () => {
      const lock = await spine.locks.acquire(await exclusive());
      const { id } = await spine.start(contextId);
      expect(spine.runs.queue()).toMatchObject([
        { jobId: id, position: 1, waitingFor: expect.stringContaining('remove task-1') },
      ]);
      expect(await spine.catalog.backups.get(id)).toMatchObject({ state: 'queued' });
      await lock[Symbol.asyncDispose]();
      expect(await spine.end(id)).toMatchObject({ state: 'completed' });
      expect(spine.runs.queue()).toEqual([]);
    });

    it('may be cancelled while it waits', async () => {
      await using _lock = await spine.locks.acquire(await exclusive());
      const { id } = await spine.start(contextId);
      await spine.runs.cancel(id, 'no');
      expect(await spine.end(id)).toMatchObject({ state: 'cancelled' });
      await eventually('nothing is left', async () => {
        expect(await spine.leftovers(node)).toEqual({ ...NOTHING_LEFT, locks: ['task-1'] });
        return true;
      });
    });
  });
});
