import { readFileSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import type { GuestWrite, LabVm } from '@sendense/lab';
import { hashBlock } from '@sendense/nbd';
import { eventually, requires } from '@sendense/runtime/testing';
import {
  finished,
  isIdentical,
  started,
  startIncremental,
  takeFull,
  takeIncremental,
  warnings,
  type Point,
} from './chain-stage.js';
import { LAB_TOOLS } from './lab-stage.js';
import { failure } from './node-client.js';
import { MIB, NodeStage } from './node-stage.js';

const BLOCK = 65_536;
const SIZE = 32 * MIB + 1024;
const LAST = 512;

let at: NodeStage;

requires(describe, ...LAB_TOOLS)('the audit of changed block tracking', () => {
  beforeAll(async () => {
    at = await NodeStage.start();
  });
  afterAll(async () => {
    await at[Symbol.asyncDispose]();
  });
  afterEach(async () => {
    await at.expectNothingLeft();
  });

  let vms = 0;
  async function newVm(): Promise<LabVm> {
    const name = `vm-${++vms}`;
    const vm = await at.lab.createVm({ name, disks: [{ sizeBytes: SIZE }], changeTrackingEnabled: true });
    await write(vm, [
      { offset: 0, random: name, length: 8 * MIB },
      { offset: 10 * MIB, zeros: MIB },
      { offset: SIZE - 1024, random: `${name} end`, length: 1024 },
    ]);
    return vm;
  }
  const write = (vm: LabVm, writes: readonly GuestWrite[]) => at.lab.guestWrite(vm.moref, 2000, writes);
  const numbers = (count: number) => Array.from({ length: count }, (_, index) => index);

  /** The hashes that the disk's blocks had at the snapshot of a point; empty for zeros. */
  async function hashesOf(
    vm: LabVm,
    point: Pick<Point, 'snapshot'>,
    blocks: readonly number[],
  ): Promise<string[]> {
    const content = readFileSync(await at.lab.diskImage(vm.moref, 2000, { snapshot: point.snapshot }));
    return blocks.map((block) => {
      const data = content.subarray(block * BLOCK, (block + 1) * BLOCK);
      return data.every((byte) => byte === 0) ? '' : hashBlock(data).toString('hex');
    });
  }
  const answered = (point: Point) =>
    finished(point).auditedBlocks.map(
      ({ block, hash }) => [Number(block), Buffer.from(hash).toString('hex')] as const,
    );

  it('answers the hash of each block that did not change, and nothing for one that an area touches', async () => {
    const vm = await newVm();
    const full = await takeFull(at, vm);
    await write(vm, [
      { offset: 3 * BLOCK + 7, random: 'inside', length: 1 },
      { offset: 6 * BLOCK - 1, random: 'over a border', length: 2 },
    ]);
    // Data, data that changed, zeros that were written, a hole, the short last block.
    const asked = [0, 1, 3, 4, 5, 6, 7, 160, 300, LAST];
    const point = await takeIncremental(at, vm, full, { audit: { 2000: asked } });
    const expected = [0, 1, 4, 7, 160, 300, LAST];
    const hashes = await hashesOf(vm, full, expected);
    expect(answered(point)).toEqual(expected.map((block, index) => [block, hashes[index]]));
    expect(hashes.map((hash) => hash.length)).toEqual([32, 32, 32, 32, 0, 0, 32]);
    // Not part of the copy.
    expect(finished(point)).toMatchObject({ bytesRead: BigInt(3 * BLOCK), hashedBlocks: 3n });
    expect(await isIdentical(at, vm, point)).toBe(true);
  });

  it('finds each change that vCenter kept to itself', async () => {
    const vm = await newVm();
    const full = await takeFull(at, vm);
    const changed = [2, 20, 40, 60, 80, 165, 400];
    await write(
      vm,
      changed.map((block) => ({ offset: block * BLOCK + 512, random: 'new', length: 4096 })),
    );
    at.lab.setFault({ operation: 'QueryChangedDiskAreas', lie: 'omit_areas' });
    const asked = numbers(LAST + 1);
    const point = await takeIncremental(at, vm, full, { audit: { 2000: asked } });
    // Nothing but the audit notices.
    expect([await isIdentical(at, vm, point), warnings(point)]).toEqual([false, []]);
    const before = await hashesOf(vm, full, asked);
    const wrong = answered(point).filter(([block, hash]) => hash !== before[block]);
    expect(wrong.map(([block]) => block)).toEqual([2, 40, 80, 400]);
    const now = await hashesOf(vm, point, [2, 40, 80, 400]);
    expect(wrong.map(([, hash]) => hash)).toEqual(now);
  });

  it('finds data that became zeros, and what a revert hid behind higher numbers', async () => {
    const vm = await newVm();
    await at.lab.createSnapshot(vm.moref, { name: 'before update' });
    await write(vm, [
      { offset: 50 * BLOCK, random: 'update', length: BLOCK },
      { offset: 0, zeros: BLOCK },
    ]);
    const full = await takeFull(at, vm);
    await at.lab.revertToSnapshot(vm.moref, 'before update');
    for (const name of ['one', 'two']) await at.lab.createSnapshot(vm.moref, { name });
    const point = await takeIncremental(at, vm, full, { audit: { 2000: numbers(LAST + 1) } });
    expect(finished(point).bytesRead).toBe(0n);
    const before = await hashesOf(vm, full, numbers(LAST + 1));
    const wrong = answered(point).filter(([block, hash]) => hash !== before[block]);
    expect(wrong.map(([block]) => block)).toEqual([0, 50]);
    expect([before[0], wrong[0]![1]].map((hash) => hash?.length)).toEqual([0, 32]);
    for (const { moref } of at.lab.snapshots(vm.moref)) await at.lab.removeSnapshot(vm.moref, moref);

    await at.lab.setChangeTracking(vm.moref, true);
    const clean = await takeFull(at, vm);
    await write(vm, [{ offset: 7 * BLOCK, zeros: BLOCK }]);
    at.lab.setFault({ operation: 'QueryChangedDiskAreas', lie: 'no_areas' });
    const zeroed = await takeIncremental(at, vm, clean, { audit: { 2000: [7, 8] } });
    const hashes = await hashesOf(vm, clean, [7, 8]);
    expect(answered(zeroed)).toEqual([
      [7, ''],
      [8, hashes[1]],
    ]);
    expect(hashes[0]).not.toBe('');
  });

  it('is followed by a full that does not ask the liar which areas are in use', async () => {
    const vm = await newVm();
    at.lab.setFault({ operation: 'QueryChangedDiskAreas', lie: 'omit_areas' });
    const trusting = await takeFull(at, vm);
    expect([started(trusting).extentSource, await isIdentical(at, vm, trusting)]).toEqual([
      'allocated_areas',
      false,
    ]);
    const full = await takeFull(at, vm, (disk) => (disk.distrustChangeTracking = true));
    expect([started(full).extentSource, await isIdentical(at, vm, full)]).toEqual(['block_status', true]);
  });

  it('leaves out a block that cannot be read, with a warning, and the backup is good', async () => {
    const vm = await newVm();
    const full = await takeFull(at, vm);
    await write(vm, [{ offset: 0, random: 'new', length: 10 }]);
    at.lab.setFault({
      operation: 'vddk.read',
      fault: '14009',
      extent: { offset: 9 * BLOCK, length: 512 },
    });
    const point = await takeIncremental(at, vm, full, { audit: { 2000: [8, 9, 10] } });
    expect(answered(point).map(([block]) => block)).toEqual([8, 10]);
    expect(warnings(point)).toEqual(['cbt_audit_incomplete']);
    expect(await isIdentical(at, vm, point)).toBe(true);
  });

  it('can be stopped in the middle', async () => {
    const vm = await newVm();
    const full = await takeFull(at, vm);
    const { job, overlays, request } = await startIncremental(at, vm, full, {
      audit: { 2000: numbers(500) },
      // Nothing changed: all that is read slowly is the audit.
      change: { rateLimitBytesPerSecond: BigInt(BLOCK) },
    });
    await using _overlays = overlays;
    await eventually('the disk has started', () => job.names.includes('diskStarted'));
    await at.client.cancel(request.jobId, 'enough');
    await job.done;
    expect(failure(job)).toMatchObject({ code: 'cancelled' });
    expect(job.names).not.toContain('diskFinished');
  });
});
