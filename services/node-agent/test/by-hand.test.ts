import { statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { LabVm } from '@sendense/lab';
import { verifyBlockHashesFile } from '@sendense/nbd';
import { requires } from '@sendense/runtime/testing';
import { backUpByHand, eventsOf, LAB_TOOLS, startStage, type Stage } from './lab-stage.js';

const MIB = 1024 * 1024;

let stage: Stage;

requires(describe, ...LAB_TOOLS)('a backup by hand', () => {
  beforeAll(async () => {
    stage = await startStage();
  });
  afterAll(async () => {
    await stage[Symbol.asyncDispose]();
  });

  /** Content of every kind: data at both ends and in the middle, zeros that the guest wrote, and holes. */
  async function fill(vm: LabVm, key: number, sizeBytes: number): Promise<void> {
    await stage.lab.guestWrite(vm.moref, key, [
      { offset: 0, random: `start ${key}`, length: MIB + 512 },
      { offset: 5 * MIB, zeros: 3 * MIB },
      { offset: 9 * MIB + 512, random: `middle ${key}`, length: 300_032 },
      { offset: sizeBytes - 1024, random: `end ${key}`, length: 1024 },
    ]);
  }

  const disksOf = (count: number) =>
    [
      { sizeBytes: 40 * MIB + 512 },
      { sizeBytes: 17 * MIB, controller: 'scsi1' as const },
      { sizeBytes: 25 * MIB + 1536, controller: 'sata0' as const },
      { sizeBytes: 12 * MIB + 512, controller: 'scsi1' as const },
      { sizeBytes: 33 * MIB, controller: 'nvme0' as const },
    ].slice(0, count);

  it.each([1, 2, 5])('copies %i disks of one snapshot, byte for byte, and leaves none', async (count) => {
    const vm = await stage.lab.createVm({ name: `vm of ${count}`, disks: disksOf(count) });
    for (const { key, sizeBytes } of vm.disks) await fill(vm, key, sizeBytes);
    await using targets = await stage.serve(vm);
    const run = await backUpByHand(stage, {
      vm,
      targets: targets.text,
      jobId: `full-${count}`,
      more: ['--connections', '3'],
    });
    expect({ code: run.code, stderr: run.stderr() }).toEqual({ code: 0, stderr: '' });
    const [snapshot] = eventsOf(run.events, 'snapshotCreated');
    expect(snapshot).toMatchObject({ name: `sendense-full-${count}`, foreignSnapshots: 0 });
    const same = await stage.compare(vm, targets, snapshot!.moref);
    expect(same).toEqual(Object.fromEntries(vm.disks.map(({ key }) => [key, true])));
    expect(stage.lab.snapshotHistory(vm.moref)).toEqual({ created: 1, removed: 1 });
    expect(stage.lab.snapshots(vm.moref)).toEqual([]);
    expect(eventsOf(run.events, 'diskFinished')).toHaveLength(count);
    expect(stage.lab.sessionCount()).toBe(0);
  });

  it('numbers its events, and ends with what it did', async () => {
    const vm = await stage.lab.createVm({ name: 'events', disks: [{ sizeBytes: 20 * MIB }] });
    await fill(vm, 2000, 20 * MIB);
    await using targets = await stage.serve(vm);
    const run = await backUpByHand(stage, { vm, targets: targets.text, jobId: 'events' });
    const kept = run.events.filter(({ event }) => event?.$case !== 'progress');
    expect(kept.map(({ sequence }) => Number(sequence))).toEqual(kept.map((_, index) => index + 1));
    expect(kept.map(({ event }) => event?.$case)).toEqual([
      'changeTracking',
      'snapshotCreated',
      'diskStarted',
      'diskFinished',
      'snapshotRemoved',
      'finished',
    ]);
    const [started] = eventsOf(run.events, 'diskStarted');
    const [finished] = eventsOf(run.events, 'finished');
    expect(finished!.bytesRead).toBe(started!.bytesTotal);
    expect(finished!.bytesRead).toBeLessThan(20n * BigInt(MIB));
  });

  it('speaks to people in lines: what it does on stderr, the result on stdout', async () => {
    const vm = await stage.lab.createVm({ name: 'lines', disks: [{ sizeBytes: 4 * MIB }] });
    await stage.lab.guestWrite(vm.moref, 2000, { offset: 0, random: 'x', length: MIB });
    await using targets = await stage.serve(vm);
    const run = await backUpByHand(stage, { vm, targets: targets.text, jobId: 'lines', json: false });
    expect(run.code).toBe(0);
    expect(run.stdout()).toMatch(/^finished: 1\.0 MiB read, 1\.0 MiB written, 0 B zeros\n$/);
    expect(run.stderr()).toMatch(
      /snapshot sendense-lines \(snapshot-\d+\), not quiesced\ndisk 2000: 1\.0 MiB to read, 1 extents from block_status\n/,
    );
  });

  it('reads what is in use by change tracking, by block status where there is none, and never more', async () => {
    const on = await stage.lab.createVm({
      name: 'tracked',
      disks: [{ sizeBytes: 64 * MIB }],
      changeTrackingEnabled: true,
    });
    const off = await stage.lab.createVm({
      name: 'untracked',
      disks: [{ sizeBytes: 64 * MIB }],
      changeTrackingSupported: false,
    });
    for (const [vm, source, outcome] of [
      [on, 'allocated_areas', 'already_enabled'],
      [off, 'block_status', 'not_supported'],
    ] as const) {
      await stage.lab.guestWrite(vm.moref, 2000, { offset: 3 * MIB, random: vm.name, length: 2 * MIB });
      await using targets = await stage.serve(vm);
      const run = await backUpByHand(stage, {
        vm,
        targets: targets.text,
        jobId: `source-${source}`,
        more: ['--enable-change-tracking'],
      });
      expect(run.code).toBe(0);
      expect(eventsOf(run.events, 'changeTracking')).toMatchObject([{ outcome }]);
      expect(eventsOf(run.events, 'diskStarted')).toMatchObject([{ extentSource: source }]);
      expect(eventsOf(run.events, 'diskFinished')[0]!.bytesRead).toBeLessThan(8n * BigInt(MIB));
      const [snapshot] = eventsOf(run.events, 'snapshotCreated');
      expect(await stage.compare(vm, targets, snapshot!.moref)).toEqual({ 2000: true });
    }
  });

  it('copies only what changed onto an overlay: new data, data that became zeros, and nothing else', async () => {
    const vm = await stage.lab.createVm({
      name: 'incremental',
      disks: [{ sizeBytes: 64 * MIB + 512 }, { sizeBytes: 16 * MIB, controller: 'scsi1' }],
      changeTrackingEnabled: true,
    });
    const [first, second] = vm.disks.map(({ key }) => key) as [number, number];
    for (const key of [first, second])
      await stage.lab.guestWrite(vm.moref, key, { offset: 0, random: `base ${key}`, length: 10 * MIB });
    const full = await stage.serve(vm);
    const more = ['--enable-change-tracking'];
    const base = await backUpByHand(stage, { vm, targets: full.text, jobId: 'base', more });
    await full[Symbol.asyncDispose]();
    expect(base.code).toBe(0);

    await stage.lab.guestWrite(vm.moref, first, [
      { offset: MIB, zeros: 2 * MIB }, // data → zeros
      { offset: 4 * MIB, random: 'changed', length: 70_000 }, // data → data
      { offset: 40 * MIB, random: 'new', length: 4096 }, // hole → data
      { offset: 64 * MIB, random: 'tail', length: 512 }, // the last, partial block
    ]);
    const changeIds = eventsOf(base.events, 'snapshotCreated')[0]!
      .changeIds.map(({ diskKey, changeId }) => `${diskKey}=${changeId}`)
      .join(',');
    await using overlays = await stage.serve(vm, full);
    const run = await backUpByHand(stage, {
      vm,
      targets: overlays.text,
      jobId: 'increment',
      more: ['--previous-change-ids', changeIds],
    });
    expect({ code: run.code, stderr: run.stderr() }).toEqual({ code: 0, stderr: '' });
    for (const started of eventsOf(run.events, 'diskStarted'))
      expect(started.extentSource).toBe('changed_areas');
    const read = new Map(
      eventsOf(run.events, 'diskFinished').map((disk) => [disk.diskKey, Number(disk.bytesRead)]),
    );
    expect(read.get(first)).toBeLessThan(4 * MIB);
    expect(read.get(second)).toBe(0);
    const [snapshot] = eventsOf(run.events, 'snapshotCreated');
    expect(await stage.compare(vm, overlays, snapshot!.moref)).toEqual({ [first]: true, [second]: true });
  });

  it('says that a disk became a full, why, and what to do with its image', async () => {
    const vm = await stage.lab.createVm({
      name: 'stale',
      disks: [{ sizeBytes: 4 * MIB }],
      changeTrackingEnabled: true,
    });
    await stage.lab.guestWrite(vm.moref, 2000, { offset: 0, random: 'x', length: MIB });
    const full = await stage.serve(vm);
    const base = await backUpByHand(stage, { vm, targets: full.text, jobId: 'stale-base' });
    await full[Symbol.asyncDispose]();
    const { changeId } = eventsOf(base.events, 'snapshotCreated')[0]!.changeIds[0]!;
    await stage.lab.forgetChanges(vm.moref);
    await using overlays = await stage.serve(vm, full);
    const run = await backUpByHand(stage, {
      vm,
      targets: overlays.text,
      jobId: 'stale',
      json: false,
      more: ['--previous-change-ids', `2000=${changeId}`],
    });
    expect(run.code).toBe(0);
    expect(run.stderr()).toMatch(/^warning: disk 2000 is read in full: .*FileFault.* \[change_id_stale\]$/m);
    expect(run.stderr()).toMatch(
      /^disk 2000: 1\.0 MiB to read, 1 extents from \w+; a full \(change_id_stale\): .* qemu-img rebase -u -b '' IMAGE$/m,
    );
  });

  it('writes the block hashes of every disk', async () => {
    const vm = await stage.lab.createVm({ name: 'hashed', disks: disksOf(2) });
    for (const { key, sizeBytes } of vm.disks) await fill(vm, key, sizeBytes);
    await using targets = await stage.serve(vm);
    const hashes = join(stage.folder, 'hashes');
    const run = await backUpByHand(stage, {
      vm,
      targets: targets.text,
      jobId: 'hashed',
      more: ['--hashes-dir', hashes],
    });
    expect({ code: run.code, failed: eventsOf(run.events, 'failed') }).toEqual({ code: 0, failed: [] });
    for (const { key, sizeBytes } of vm.disks) {
      const summary = await verifyBlockHashesFile(join(hashes, `disk-${key}.hashes`));
      const [finished] = eventsOf(run.events, 'diskFinished').filter(({ diskKey }) => diskKey === key);
      expect(summary.sizeBytes).toBe(sizeBytes);
      expect(BigInt(summary.dataBlocks + summary.zeroBlocks)).toBe(finished!.hashedBlocks);
    }
  });

  it('reads the instant of the snapshot while the guest goes on writing', async () => {
    const vm = await stage.lab.createVm({ name: 'busy', disks: [{ sizeBytes: 48 * MIB }] });
    await stage.lab.guestWrite(vm.moref, 2000, { offset: 0, random: 'before', length: 32 * MIB });
    await using targets = await stage.serve(vm);
    let running = true;
    const guest = (async () => {
      for (let turn = 0; running; turn++) {
        const offset = (turn % 32) * MIB;
        await stage.lab.guestWrite(vm.moref, 2000, { offset, random: `turn ${turn}`, length: MIB });
      }
    })();
    const run = await backUpByHand(stage, { vm, targets: targets.text, jobId: 'busy' });
    running = false;
    await guest;
    expect(run.code).toBe(0);
    const [snapshot] = eventsOf(run.events, 'snapshotCreated');
    expect(await stage.compare(vm, targets, snapshot!.moref)).toEqual({ 2000: true });
  });

  it('takes names of VMs as they are', async () => {
    const name = `a "name", with 'quotes' & <tags> 🙂\u00a0${'x'.repeat(40)}`;
    const vm = await stage.lab.createVm({ name, disks: [{ sizeBytes: MIB }], folder: 'a folder' });
    await stage.lab.guestWrite(vm.moref, 2000, { offset: 0, random: 'x', length: 4096 });
    await using targets = await stage.serve(vm);
    const run = await backUpByHand(stage, { vm, targets: targets.text, jobId: 'names' });
    expect({ code: run.code, stderr: run.stderr() }).toEqual({ code: 0, stderr: '' });
  });

  it('says whether the guest was really quiesced', async () => {
    const vm = await stage.lab.createVm({ name: 'quiesce', disks: [{ sizeBytes: MIB }] });
    const outcomes: [string, boolean][] = [];
    for (const [jobId, tools] of [
      ['quiesced', 'running'],
      ['not-quiesced', 'notRunning'],
    ] as const) {
      await stage.lab.setTools(vm.moref, tools);
      await using targets = await stage.serve(vm);
      const run = await backUpByHand(stage, { vm, targets: targets.text, jobId, more: ['--quiesce'] });
      const [snapshot] = eventsOf(run.events, 'snapshotCreated');
      outcomes.push([jobId, snapshot!.quiesced]);
      expect(snapshot!.quiesceNote === '').toBe(snapshot!.quiesced);
    }
    expect(outcomes).toEqual([
      ['quiesced', true],
      ['not-quiesced', false],
    ]);
  });

  it('reads and stores of a huge disk what is in use, and no more', async () => {
    const vm = await stage.lab.createVm({
      name: 'large',
      disks: [{ sizeBytes: 2 ** 40 }],
      changeTrackingEnabled: true,
    });
    await stage.lab.guestWrite(vm.moref, 2000, { offset: 2 ** 39, random: 'far away', length: 8 * MIB });
    await using targets = await stage.serve(vm);
    const run = await backUpByHand(stage, {
      vm,
      targets: targets.text,
      jobId: 'large',
      more: ['--enable-change-tracking'],
    });
    expect(run.code).toBe(0);
    expect(eventsOf(run.events, 'diskFinished')[0]!.bytesRead).toBeLessThanOrEqual(9n * BigInt(MIB));
    expect(statSync(targets.images.get(2000)!).blocks * 512).toBeLessThan(32 * MIB);
  });
});
