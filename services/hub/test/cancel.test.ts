import { chmodSync, existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { eventually, requires } from '@sendense/runtime/testing';
import type { Phase } from './stage/fake-job.js';
import { FakeNode } from './stage/fake-node.js';
import type { FakeVm } from './stage/fake-vm.js';
import { NOTHING_LEFT, Spine } from './stage/spine.js';

const MIB = 2 ** 20;

requires(
  describe,
  'qemu-nbd',
  'qemu-img',
)('cancelling a backup', () => {
  let node: FakeNode;
  let spine: Spine;
  let vm: FakeVm;
  let contextId: string;

  beforeEach(async () => {
    node = await FakeNode.start();
    vm = node.addVm('pgtest1', [
      { key: 2000, sizeBytes: 4 * MIB },
      { key: 2001, sizeBytes: 2 * MIB },
    ]);
  });

  afterEach(async () => {
    await spine[Symbol.asyncDispose]();
    await node[Symbol.asyncDispose]();
  });

  async function endsCancelled(backupId: string): Promise<void> {
    const record = await spine.end(backupId);
    expect(record).toMatchObject({ state: 'cancelled', cancelReason: 'changed my mind' });
    await eventually('nothing is left', async () => {
      expect(await spine.leftovers(node)).toEqual(NOTHING_LEFT);
      return true;
    });
    expect(await spine.files()).toEqual([]);
    const states: string[] = [];
    for await (const event of spine.runs.events(backupId, 0))
      if (event.type === 'state') states.push(event.state);
    expect(states.slice(-2)).toEqual(['cancelling', 'cancelled']);
  }

  const phases: Phase[] = ['accepted', 'snapshot', 'copying', 'copied', 'hashes'];
  it.each(phases)('leaves nothing behind when the node is at: %s', async (phase) => {
    spine = await Spine.start(node);
    contextId = await spine.protect(vm);
    const hold = node.hold(phase);
    const { id } = await spine.start(contextId);
    await hold.reached;
    expect(await spine.runs.cancel(id, 'changed my mind')).toMatchObject({ state: 'cancelling' });
    await endsCancelled(id);
    hold.release();
    expect(await spine.backUp(contextId)).toMatchObject({ state: 'completed' });
  });

  it('leaves the queue at once', async () => {
    spine = await Spine.start(node, { limits: { total: 1 } });
    contextId = await spine.protect(vm);
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
    const slow = join('/tmp', `sendense-test-${process.pid}-slow-img`);
    const marker = `${slow}.started`;
    writeFileSync(slow, `#!/bin/sh\ntouch ${marker}\nexec sleep 600\n`);
    chmodSync(slow, 0o755);
    spine = await Spine.start(node, { qemuImg: slow, timing: { answerMs: 100 } });
    contextId = await spine.protect(vm);
    const { id, state } = await spine.start(contextId);
    expect(['queued', 'preparing']).toContain(state);
    await eventually('qemu-img runs', () => existsSync(marker));
    await spine.runs.cancel(id, 'changed my mind');
    await endsCancelled(id);
  });

  it('stops while the image is being checked', async () => {
    const slow = join('/tmp', `sendense-test-${process.pid}-slow-check`);
    const marker = `${slow}.started`;
    writeFileSync(
      slow,
      `#!/bin/sh\nif [ "$1" = check ]; then touch ${marker}; exec sleep 600; fi\nexec qemu-img "$@"\n`,
    );
    chmodSync(slow, 0o755);
    spine = await Spine.start(node, { qemuImg: slow });
    contextId = await spine.protect(vm);
    const { id } = await spine.start(contextId);
    await eventually('qemu-img checks', () => existsSync(marker));
    await spine.runs.cancel(id, 'changed my mind');
    await endsCancelled(id);
  });

  it('also ends when the node is away, and cleans up there later', async () => {
    spine = await Spine.start(node, { timing: { nodeCancelMs: 500 } });
    contextId = await spine.protect(vm);
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
    spine = await Spine.start(node);
    contextId = await spine.protect(vm);
    const { id } = await spine.backUp(contextId);
    expect(await spine.runs.cancel(id, 'too late')).toMatchObject({ state: 'completed' });
    await expect(spine.runs.cancel('backup-of-nothing', 'x')).rejects.toMatchObject({
      code: 'job_not_found',
    });
  });
});
