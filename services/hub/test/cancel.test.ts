import { existsSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { eventually, requires } from '@sendense/runtime/testing';
import type { Phase } from './stage/fake-job.js';
import type { FakeNode } from './stage/fake-node.js';
import { ProtectedVm } from './stage/protected-vm.js';
import type { Spine, SpineOptions } from './stage/spine.js';

const MIB = 2 ** 20;

requires(
  describe,
  'qemu-nbd',
  'qemu-img',
)('cancelling a backup', () => {
  let world: ProtectedVm;
  let node: FakeNode;
  let spine: Spine;
  let contextId: string;

  async function setUp(options: SpineOptions = {}): Promise<void> {
    spine = await world.setUp(options);
    ({ contextId } = world);
  }

  beforeEach(async () => {
    world = await ProtectedVm.create();
    ({ node } = world);
  });

  afterEach(async () => {
    await world[Symbol.asyncDispose]();
  });

  async function endsCancelled(backupId: string): Promise<void> {
    const record = await spine.end(backupId);
    expect(record).toMatchObject({ state: 'cancelled', cancelReason: 'changed my mind' });
    await world.leavesNothing();
    const states: string[] = [];
    for await (const event of spine.runs.events(backupId, 0))
      if (event.type === 'state') states.push(event.state);
    expect(states.slice(-2)).toEqual(['cancelling', 'cancelled']);
  }

  const phases: Phase[] = ['accepted', 'snapshot', 'copying', 'copied', 'hashes'];
  it.each(phases)('leaves nothing behind when the node is at: %s', async (phase) => {
    await setUp();
    const hold = node.hold(phase);
    const { id } = await spine.start(contextId);
    await hold.reached;
    expect(await spine.runs.cancel(id, 'changed my mind')).toMatchObject({ state: 'cancelling' });
    await endsCancelled(id);
    hold.release();
    expect(await spine.backUp(contextId)).toMatchObject({ state: 'completed' });
  });

  it('waits for the snapshot that is being removed', async () => {
    await setUp({ timing: { nodeCancelMs: 60_000 } });
    const hold = node.hold('removing');
    const { id } = await spine.start(contextId);
    await hold.reached;
    expect(await spine.runs.cancel(id, 'changed my mind')).toMatchObject({ state: 'cancelling' });
    await eventually('the node was told', () => node.jobs.get(id)?.stop.signal.aborted);
    expect(spine.runs.running()).toMatchObject([{ jobId: id }]);
    hold.release();
    await endsCancelled(id);
    expect((await spine.catalog.backups.get(id)).snapshot).toMatchObject({ removedAt: expect.any(Date) });
  });

  it('does not wait for ever for the snapshot that is being removed, and looks after it later', async () => {
    await setUp({ timing: { nodeCancelMs: 300 } });
    const hold = node.hold('removing');
    const { id } = await spine.start(contextId);
    await hold.reached;
    await spine.runs.cancel(id, 'changed my mind');
    expect(await spine.end(id)).toMatchObject({ state: 'cancelled' });
    expect(await spine.files()).toEqual([]);
    expect(await spine.leftovers(node)).toMatchObject({ snapshots: 1, cleanups: ['settle_job'] });
    hold.release();
    await endsCancelled(id);
  });

  it('leaves the queue at once', async () => {
    await setUp({ limits: { total: 1 } });
    const hold = node.hold('copying');
    const first = await spine.start(contextId);
    await hold.reached;
    const second = await spine.start(
      await spine.protect(node.addVm('other', [{ key: 2000, sizeBytes: MIB }])),
    );
    expect(second.state).toBe('queued');
    await spine.runs.cancel(second.id, 'changed my mind');
    await eventually('it left', () => spine.runs.queue().length === 0);
    expect(await spine.end(second.id)).toMatchObject({ state: 'cancelled' });
    hold.release();
    expect(await spine.end(first.id)).toMatchObject({ state: 'completed' });
  });

  it('stops while targets are being made', async () => {
    const slow = world.hangingTool('qemu-img');
    await setUp({ qemuImg: slow.path, timing: { answerMs: 100 } });
    const { id, state } = await spine.start(contextId);
    expect(['queued', 'preparing']).toContain(state);
    await eventually('qemu-img runs', () => existsSync(slow.marker));
    await spine.runs.cancel(id, 'changed my mind');
    await endsCancelled(id);
  });

  it('stops while the image is being checked', async () => {
    const slow = world.hangingTool('qemu-img', 'check');
    await setUp({ qemuImg: slow.path });
    const { id } = await spine.start(contextId);
    await eventually('qemu-img checks', () => existsSync(slow.marker));
    await spine.runs.cancel(id, 'changed my mind');
    await endsCancelled(id);
  });

  it('also ends when the node is away, and cleans up there later', async () => {
    await setUp({ timing: { nodeCancelMs: 500 } });
    const hold = node.hold('copying');
    const { id } = await spine.start(contextId);
    await hold.reached;
    node.cut();
    await spine.runs.cancel(id, 'changed my mind');
    expect(await spine.end(id)).toMatchObject({ state: 'cancelled' });
    await node.connect();
    spine.runs.nodeConnected('berlin');
    await endsCancelled(id);
  });

  it('changes nothing about one that has ended, and knows no others', async () => {
    await setUp();
    const { id } = await spine.backUp(contextId);
    expect(await spine.runs.cancel(id, 'too late')).toMatchObject({ state: 'completed' });
    await expect(spine.runs.cancel('backup-of-nothing', 'x')).rejects.toMatchObject({
      code: 'job_not_found',
    });
  });
});
