import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import type { RestorePointRecord } from '@sendense/catalog';
import { requires, temporaryDirectory } from '@sendense/runtime/testing';
import { FakeNode } from './stage/fake-node.js';
import { NOTHING, rescan } from './stage/rescan.js';
import { Spine } from './stage/spine.js';

const MIB = 2 ** 20;

requires(
  describe,
  'qemu-nbd',
  'qemu-img',
)('a hub whose catalogue was lost', () => {
  it('finds its points again, and goes on with increments of the same VM', async () => {
    using folder = temporaryDirectory('sdl');
    await using node = await FakeNode.start();
    const vm = node.addVm('pgtest1', [{ key: 2000, sizeBytes: 2 * MIB }]);
    const before = await (async () => {
      await using spine = await Spine.start(node, { folder: folder.path });
      const contextId = await spine.protect(vm);
      vm.disk(2000).fill(0, MIB);
      await spine.backUp(contextId);
      vm.disk(2000).fill(0, 4096, 'changed');
      await spine.backUp(contextId, { type: 'incremental' });
      const points = await spine.catalog.restorePoints.list();
      return { contextId, points: points.items, repository: await spine.repository() };
    })();
    rmSync(join(folder.path, 'data'), { recursive: true });

    await using spine = await Spine.start(node, { folder: folder.path });
    const { id } = await spine.repository();
    expect(id).toBe(before.repository.id);
    const result = await rescan(spine.catalog, spine.repositories, id);
    expect(result).toMatchObject({
      ...NOTHING,
      points_added: before.points.map(({ id }) => id).toReversed(),
    });
    const { items } = await spine.catalog.restorePoints.list();
    const sealedAside = (points: readonly RestorePointRecord[]) =>
      points.map((point) => ({ ...point, sealedAt: 0 }));
    expect(sealedAside(items)).toEqual(sealedAside(before.points));

    expect(await spine.protect(vm)).toBe(before.contextId);
    vm.disk(2000).fill(MIB, 4096, 'later');
    const next = await spine.backUp(before.contextId, { type: 'incremental' });
    expect(next).toMatchObject({
      state: 'completed',
      disks: [{ backupType: 'incremental', reason: 'changed_blocks', parentPointId: items[0]!.id }],
    });
  });
});
