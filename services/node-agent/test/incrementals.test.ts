import { statSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import type { ChangedAreasLie, GuestWrite, Lab, LabVm } from '@sendense/lab';
import { requires } from '@sendense/runtime/testing';
import {
  cutOff,
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
const SIZE = 48 * MIB + 1536;

let at: NodeStage;

requires(describe, ...LAB_TOOLS)('an incremental of a node', () => {
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
  /** Data, zeros that were written, and holes. */
  async function newVm(sizeBytes = SIZE): Promise<LabVm> {
    const name = `vm-${++vms}`;
    const vm = await at.lab.createVm({ name, disks: [{ sizeBytes }], changeTrackingEnabled: true });
    await write(vm, [
      { offset: 0, random: name, length: 6 * MIB },
      { offset: 8 * MIB, zeros: 2 * MIB },
      { offset: sizeBytes - 512, random: `${name} end`, length: 512 },
    ]);
    return vm;
  }
  const write = (vm: LabVm, writes: readonly GuestWrite[]) => at.lab.guestWrite(vm.moref, 2000, writes);

  it('reads the changed blocks and nothing else, and the chain is the disk, byte for byte', async () => {
    const vm = await newVm();
    const full = await takeFull(at, vm);
    await write(vm, [
      { offset: 3 * BLOCK, random: 'data to data', length: BLOCK },
      { offset: 10 * BLOCK, zeros: 2 * BLOCK }, // data to zeros
      { offset: 20 * BLOCK + 512, zeros: 1024 }, // a part of a block to zeros
      { offset: 8 * MIB, random: 'zeros to data', length: 7 },
      { offset: 30 * MIB - 1, random: 'hole to data, over a border', length: 2 },
      { offset: 40 * MIB, zeros: BLOCK }, // hole to zeros
      { offset: 5 * BLOCK, random: 'a', length: 1 },
      { offset: 5 * BLOCK + 1, random: 'b', length: 1 }, // adjacent by a byte
      { offset: 6 * BLOCK - 100, random: 'c', length: 200 }, // overlapping two, and the next
      { offset: 6 * BLOCK, random: 'd', length: 300 },
      { offset: SIZE - 100, random: 'the last, short block', length: 100 },
    ]);
    const point = await takeIncremental(at, vm, full);
    expect(await isIdentical(at, vm, point)).toBe(true);
    const wholeBlocks = [3, 10, 11, 20, 128, 479, 480, 640, 5, 6].length;
    const tail = SIZE % BLOCK;
    expect(started(point)).toMatchObject({ extentSource: 'changed_areas', fullReason: '', fullDetail: '' });
    const { bytesRead, bytesWritten, bytesZeroed, hashedBlocks } = finished(point);
    expect([bytesRead, bytesWritten + bytesZeroed]).toEqual([
      BigInt(wholeBlocks * BLOCK + tail),
      BigInt(wholeBlocks * BLOCK + tail),
    ]);
    expect(bytesZeroed).toBe(BigInt(3 * BLOCK));
    expect(hashedBlocks).toBe(BigInt(wholeBlocks + 1));
    expect(warnings(point)).toEqual([]);
  });

  it('is right over a long chain, and costs nothing where nothing changed', async () => {
    const vm = await newVm();
    let point = await takeFull(at, vm);
    for (let round = 0; round < 4; round++) {
      await write(vm, [
        { offset: (round + 1) * MIB, random: `round ${round}`, length: 100_000 },
        { offset: round * MIB + 300_000, zeros: 400_000 },
      ]);
      point = await takeIncremental(at, vm, point);
      expect(await isIdentical(at, vm, point)).toBe(true);
    }
    const nothing = await takeIncremental(at, vm, point);
    expect(finished(nothing)).toMatchObject({ bytesRead: 0n, bytesWritten: 0n, bytesZeroed: 0n });
    expect(await isIdentical(at, vm, nothing)).toBe(true);
    expect(statSync(nothing.targets.images.get(2000)!).blocks * 512).toBeLessThan(MIB);
  });

  it.each<ChangedAreasLie>(['empty_pages', 'unordered'])(
    'is right when the replies are unusual: %s',
    async (lie) => {
      const vm = await newVm();
      const full = await takeFull(at, vm);
      await write(
        vm,
        [4, 5, 9, 200, 700].map((block) => ({ offset: block * BLOCK, random: lie, length: 99 })),
      );
      at.lab.setFault({ operation: 'QueryChangedDiskAreas', lie });
      const point = await takeIncremental(at, vm, full);
      expect(await isIdentical(at, vm, point)).toBe(true);
      expect(finished(point)).toMatchObject({ bytesRead: BigInt(5 * BLOCK) });
      expect(warnings(point)).toEqual([]);
    },
  );

  it('copies 50 000 scattered areas, asked for page by page', async () => {
    const count = 50_000;
    const vm = await newVm(2 * count * BLOCK + 512);
    const full = await takeFull(at, vm);
    const data = Buffer.alloc(512, 7);
    // Zeros for the most part, so that the test moves areas and not gigabytes.
    await write(
      vm,
      Array.from({ length: count }, (_, index) => {
        const offset = index * 2 * BLOCK;
        return index % 250 === 0 ? { offset, data } : { offset, zeros: BLOCK };
      }),
    );
    const queries = () => at.lab.journal().operations['QueryChangedDiskAreas'] ?? 0;
    const before = queries();
    const point = await takeIncremental(at, vm, full);
    expect(queries() - before).toBe(25);
    expect(started(point).extentCount).toBe(BigInt(count));
    expect(finished(point)).toMatchObject({
      bytesRead: BigInt(count * BLOCK),
      bytesWritten: BigInt((count / 250) * BLOCK),
      bytesZeroed: BigInt((count - count / 250) * BLOCK),
    });
    expect(await isIdentical(at, vm, point)).toBe(true);
  });

  /** A full of a VM, then what makes an incremental impossible. */
  type Spoil = (lab: Lab, vm: LabVm) => unknown;
  const lie = (how: ChangedAreasLie): Spoil => {
    return (lab) => lab.setFault({ operation: 'QueryChangedDiskAreas', lie: how });
  };
  const impossible: [reason: string, how: string, source: string, spoil: Spoil][] = [
    [
      'change_id_foreign',
      'tracking was reset',
      'allocated_areas',
      (lab, vm) => lab.resetChangeTracking(vm.moref),
    ],
    [
      'change_id_foreign',
      'somebody switched tracking off and on',
      'allocated_areas',
      async (lab, vm) => {
        await lab.setChangeTracking(vm.moref, false);
        await lab.setChangeTracking(vm.moref, true);
      },
    ],
    ['change_id_stale', 'vCenter forgot', 'allocated_areas', (lab, vm) => lab.forgetChanges(vm.moref)],
    [
      'change_id_stale',
      'vCenter cannot read its record at all',
      'block_status',
      (lab) => lab.setFault({ operation: 'QueryChangedDiskAreas', fault: 'FileFault' }),
    ],
    [
      'change_tracking_off',
      'tracking is off',
      'block_status',
      (lab, vm) => lab.setChangeTracking(vm.moref, false),
    ],
    ['changed_areas_invalid', 'another offset answered', 'block_status', lie('wrong_start_offset')],
    ['changed_areas_invalid', 'the replies end too early', 'block_status', lie('short_length')],
    ['changed_areas_invalid', 'a reply covers nothing', 'block_status', lie('zero_length')],
    ['changed_areas_invalid', 'areas behind the end', 'block_status', lie('beyond_end')],
  ];
  it.each(impossible)('becomes a full of the same snapshot: %s, %s', async (reason, _how, source, spoil) => {
    const vm = await newVm();
    const full = await takeFull(at, vm);
    await write(vm, [
      { offset: MIB, zeros: MIB },
      { offset: 20 * MIB, random: 'new', length: 70_000 },
    ]);
    await spoil(at.lab, vm);
    const history = at.lab.snapshotHistory(vm.moref);
    const point = await takeIncremental(at, vm, full, { audit: { 2000: [0, 1, 2] } });
    expect(started(point)).toMatchObject({
      fullReason: reason,
      extentSource: source,
      fullDetail: expect.stringContaining('2000'),
    });
    expect(warnings(point)[0]).toBe(reason);
    // Nothing was relied on that could be audited.
    expect(finished(point).auditedBlocks).toEqual([]);
    // The target still shows the old data where the full has zeros, until it is cut off.
    expect(await isIdentical(at, vm, point)).toBe(false);
    await cutOff(point);
    expect(await isIdentical(at, vm, point)).toBe(true);
    const { created } = at.lab.snapshotHistory(vm.moref);
    expect(created - history.created).toBe(1);
  });

  it('goes on from a full that it had become', async () => {
    const vm = await newVm();
    const full = await takeFull(at, vm);
    await at.lab.resetChangeTracking(vm.moref);
    const point = await takeIncremental(at, vm, full);
    await cutOff(point);
    await write(vm, [{ offset: 25 * MIB, random: 'later', length: 5 }]);
    const next = await takeIncremental(at, vm, point);
    expect(finished(next)).toMatchObject({ bytesRead: BigInt(BLOCK) });
    expect(await isIdentical(at, vm, next)).toBe(true);
  });

  it.each([
    ['before the numbers reach the old one', 0],
    ['when the numbers are the same again', 1],
  ])('becomes a full after a revert, %s', async (_when, more) => {
    const vm = await newVm();
    await at.lab.createSnapshot(vm.moref, { name: 'before update' });
    await write(vm, [{ offset: 12 * MIB, random: 'update', length: MIB }]);
    let point: Point = await takeFull(at, vm);
    await write(vm, [{ offset: 14 * MIB, random: 'more', length: MIB }]);
    point = await takeIncremental(at, vm, point);
    await at.lab.revertToSnapshot(vm.moref, 'before update');
    await write(vm, [{ offset: 16 * MIB, random: 'after the revert', length: MIB }]);
    for (let taken = 0; taken < more; taken++)
      await at.lab.createSnapshot(vm.moref, { name: `somebody's ${taken}` });
    const reverted = await takeIncremental(at, vm, point);
    expect(started(reverted)).toMatchObject({ fullReason: 'disk_reverted', extentSource: 'block_status' });
    await cutOff(reverted);
    expect(await isIdentical(at, vm, reverted)).toBe(true);
  });

  const fatal: [what: string, fault: Parameters<Lab['setFault']>[0], code: string][] = [
    ['may not ask', { operation: 'QueryChangedDiskAreas', fault: 'NoPermission' }, 'vcenter_fault'],
    ['is gone', { operation: 'QueryChangedDiskAreas', drop: 'before' }, 'vcenter_unreachable'],
  ];
  it.each(fatal)('fails and is no full when vCenter %s', async (_what, fault, code) => {
    const vm = await newVm();
    const full = await takeFull(at, vm);
    at.lab.setFault(fault);
    const { job, overlays } = await startIncremental(at, vm, full);
    await using _overlays = overlays;
    await job.done;
    expect(failure(job)).toMatchObject({ code });
    expect(job.names).not.toContain('diskStarted');
  });

  it('fails and is no full when another disk has the place, or the disk has grown', async () => {
    for (const change of ['replaceDisk', 'growDisk'] as const) {
      const vm = await newVm();
      const full = await takeFull(at, vm);
      if (change === 'replaceDisk') await at.lab.replaceDisk(vm.moref, 2000);
      else await at.lab.growDisk(vm.moref, 2000, SIZE + MIB);
      const { job, overlays } = await startIncremental(at, vm, full);
      await using _overlays = overlays;
      await job.done;
      expect(failure(job)).toMatchObject({ code: 'disk_set_changed' });
    }
  });
});
