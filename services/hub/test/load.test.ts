import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { requires } from '@sendense/runtime/testing';
import { FakeNode } from './stage/fake-node.js';
import { freePortRange, NOTHING_LEFT, Spine } from './stage/spine.js';

const MIB = 2 ** 20;

requires(
  describe,
  'qemu-nbd',
  'qemu-img',
)('many backups', () => {
  let node: FakeNode;
  let spine: Spine;

  beforeEach(async () => {
    node = await FakeNode.start();
  });

  afterEach(async () => {
    await spine[Symbol.asyncDispose]();
    await node[Symbol.asyncDispose]();
  });

  it('60 VMs of 2 disks on 101 ports all complete, in order, and the pool is full again', async () => {
    spine = await Spine.start(node, {
      ports: await freePortRange(101),
      limits: { total: 60, perNode: 60, perHost: 60, perDatastore: 60 },
    });
    const contexts: string[] = [];
    for (let index = 0; index < 60; index++) {
      const disks = [2000, 2001].map((key) => ({ key, sizeBytes: MIB / 2 }));
      contexts.push(await spine.protect(node.addVm(`vm-${index}`, disks)));
    }
    const hold = node.hold('copying');
    const ids: string[] = [];
    for (const contextId of contexts) ids.push((await spine.start(contextId)).id);
    expect(spine.runs.leases()).toMatchObject({ free: 1 });
    expect(spine.runs.queue().map(({ jobId }) => jobId)).toEqual(ids.slice(50));
    expect(spine.runs.queue()[0]).toMatchObject({ position: 1, waitingFor: '2 NBD ports' });
    hold.release();
    const startTimes: number[] = [];
    for (const id of ids) {
      const record = await spine.end(id, 120_000);
      expect(record.state).toBe('completed');
      startTimes.push('startedAt' in record ? Number(record.startedAt) : 0);
    }
    expect(startTimes).toEqual(startTimes.toSorted((a, b) => a - b));
    expect(await spine.leftovers(node)).toEqual(NOTHING_LEFT);
    expect(spine.runs.leases()).toMatchObject({ free: 101, taken: [] });
    const used = node.started.flatMap(({ disks }) => disks.map(({ nbdPort }) => nbdPort));
    expect(new Set(used).size).toBe(100);
    for (const vm of node.vms) expect(vm.snapshotsCreated).toBe(1);
  }, 180_000);
});
