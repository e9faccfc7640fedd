import { describe, expect, it } from '@jest/globals';
import { requires, temporaryDirectory } from '@sendense/runtime/testing';
import { startLab, type ChangedAreasLie } from '../src/index.js';
import { trackedVm } from './soap-client.js';

const describeWith = requires(describe, 'openssl', 'qemu-img');
const MiB = 1 << 20;
const GRAIN = 65_536;

describeWith('changed block tracking', () => {
  it('pages at 2000 areas, each page where the last one ended, up to the capacity', async () => {
    using folder = temporaryDirectory();
    await using lab = await startLab({ directory: folder.path, taskDurationMs: 0 });
    const { client, vm } = await trackedVm(lab, 600 * MiB + 512);
    const { result: before } = await client.createSnapshot(vm, 'before');
    const changeId = lab.snapshots(vm)[0]!.disks[0]!.changeId!;
    const offsets = Array.from({ length: 4500 }, (_, index) => index * 2 * GRAIN + 100);
    await lab.guestWrite(
      vm,
      2000,
      offsets.map((offset) => ({ offset, data: Buffer.from('x') })),
    );
    await lab.guestWrite(vm, 2000, { offset: 600 * MiB, data: Buffer.alloc(512, 1) });
    await client.removeSnapshot(before!);
    const { result: after } = await client.createSnapshot(vm, 'after');
    const pages = [];
    for (let at = 0; at < 600 * MiB + 512;) {
      const page = await client.changedAreas(vm, after!, 2000, at, changeId);
      expect(page.startOffset).toBe(at);
      pages.push(page.areas);
      at += page.length;
    }
    expect(pages.map((areas) => areas.length)).toEqual([2000, 2000, 501]);
    expect(pages.flat()).toEqual([
      ...offsets.map((offset) => ({ offset: offset - 100, length: GRAIN })),
      { offset: 600 * MiB, length: 512 },
    ]);
  });

  it('makes changeIds foreign by a reset, and answers * only where tracking saw everything', async () => {
    using folder = temporaryDirectory();
    await using lab = await startLab({ directory: folder.path, taskDurationMs: 0 });
    const { client, vm } = await trackedVm(lab);
    const taken = async (name: string) => {
      const { result } = await client.createSnapshot(vm, name);
      return { moref: result!, changeId: lab.snapshots(vm).at(-1)!.disks[0]!.changeId! };
    };
    const first = await taken('first');
    expect((await client.changedAreas(vm, first.moref, 2000, 0, '*')).fault).toBeUndefined();
    await lab.resetChangeTracking(vm);
    const second = await taken('second');
    expect(second.changeId.split('/')[0]).not.toBe(first.changeId.split('/')[0]);
    expect((await client.changedAreas(vm, second.moref, 2000, 0, first.changeId)).fault).toBe('FileFault');
    await lab.setChangeTracking(vm, false);
    const untracked = await client.createSnapshot(vm, 'untracked');
    expect((await client.changedAreas(vm, untracked.result!, 2000, 0, '*')).fault).toBe('FileFault');
    // Enabled while snapshots exist: changes are known from now on, but not what was allocated before.
    await lab.setChangeTracking(vm, true);
    const late = await taken('late');
    expect((await client.changedAreas(vm, late.moref, 2000, 0, '*')).fault).toBe('FileFault');
    expect((await client.changedAreas(vm, late.moref, 2000, 0, late.changeId)).fault).toBeUndefined();
    const future = late.changeId.replace(/\d+$/, '99');
    expect((await client.changedAreas(vm, late.moref, 2000, 0, future)).fault).toBe('InvalidArgument');
  });

  it.each(['the API', 'the lab'])(
    'goes back in its numbers by a revert through %s, and gives them again',
    async (way) => {
      using folder = temporaryDirectory();
      await using lab = await startLab({ directory: folder.path, taskDurationMs: 0 });
      const { client, vm } = await trackedVm(lab);
      const taken = async (name: string) => {
        const { result } = await client.createSnapshot(vm, name);
        return { moref: result!, changeId: lab.snapshots(vm).at(-1)!.disks[0]!.changeId! };
      };
      const write = (grain: number) =>
        lab.guestWrite(vm, 2000, { offset: grain * GRAIN, random: 'x', length: 9 });
      const sequence = ({ changeId }: { changeId: string }) => Number(changeId.split('/')[1]);
      const base = await taken('base');
      await write(1);
      const left = [await taken('left 1'), await taken('left 2')];
      if (way === 'the API')
        expect((await client.task('RevertToSnapshot_Task', 'VirtualMachineSnapshot', base.moref)).state).toBe(
          'success',
        );
      else await lab.revertToSnapshot(vm, base.moref);
      await write(7);
      const back = [await taken('back 1'), await taken('back 2'), await taken('back 3')];
      expect([...left, ...back].map((point) => sequence(point) - sequence(base))).toEqual([1, 2, 1, 2, 3]);
      const ask = (to: { moref: string }, from: { changeId: string }) =>
        client.changedAreas(vm, to.moref, 2000, 0, from.changeId);
      expect((await ask(back[0]!, left[1]!)).fault).toBe('InvalidArgument');
      expect((await ask(back[0]!, base)).areas).toContainEqual({ offset: 7 * GRAIN, length: GRAIN });
      // What VMware does, too: once the numbers have caught up, changes are missing and nothing says so.
      expect(await ask(back[2]!, left[1]!)).toMatchObject({ fault: undefined, areas: [] });
    },
  );

  it('forgets what changed so far when told to, of one disk or all', async () => {
    using folder = temporaryDirectory();
    await using lab = await startLab({ directory: folder.path, taskDurationMs: 0 });
    const { client, vm } = await trackedVm(lab);
    await lab.addDisk(vm, { sizeBytes: MiB });
    await client.createSnapshot(vm, 'starts tracking of the new disk');
    const { result: first } = await client.createSnapshot(vm, 'first');
    const ids = lab
      .snapshots(vm)
      .at(-1)!
      .disks.map(({ changeId }) => changeId!);
    await lab.forgetChanges(vm, 2001);
    const { result: second } = await client.createSnapshot(vm, 'second');
    const faults = async (moref: string) =>
      Promise.all(
        ids.map(async (id, index) => (await client.changedAreas(vm, moref, 2000 + index, 0, id)).fault),
      );
    expect(await faults(first!)).toEqual([undefined, undefined]);
    expect(await faults(second!)).toEqual([undefined, 'FileFault']);
    const now = lab.snapshots(vm).at(-1)!.disks[1]!.changeId!;
    expect(now.split('/')[0]).toBe(ids[1]!.split('/')[0]);
    expect((await client.changedAreas(vm, second!, 2001, 0, now)).fault).toBeUndefined();
    expect((await client.changedAreas(vm, second!, 2001, 0, '*')).fault).toBeUndefined();
    await lab.forgetChanges(vm);
    const { result: third } = await client.createSnapshot(vm, 'third');
    expect(await faults(third!)).toEqual(['FileFault', 'FileFault']);
  });

  it('covers stretches without changes by pages that are empty, and is right all the same', async () => {
    using folder = temporaryDirectory();
    await using lab = await startLab({ directory: folder.path, taskDurationMs: 0 });
    const { client, vm } = await trackedVm(lab);
    const grains = [2, 3, 9, 1023];
    await lab.guestWrite(
      vm,
      2000,
      grains.map((grain) => ({ offset: grain * GRAIN, data: Buffer.from('x') })),
    );
    const { result } = await client.createSnapshot(vm, 'one');
    lab.setFault({ operation: 'QueryChangedDiskAreas', lie: 'empty_pages' });
    const pages: [length: number, areas: number[]][] = [];
    for (let at = 0; at < 64 * MiB;) {
      const { startOffset, length, areas } = await client.changedAreas(vm, result!, 2000, at, '*');
      expect(startOffset).toBe(at);
      pages.push([length / GRAIN, areas.map((area) => area.offset / GRAIN)]);
      at += length;
    }
    expect(pages).toEqual([
      [2, []],
      [2, [2]],
      [5, []],
      [1, [9]],
      [1013, []],
      [1, [1023]],
    ]);
  });

  it('lies when told to', async () => {
    using folder = temporaryDirectory();
    await using lab = await startLab({ directory: folder.path, taskDurationMs: 0 });
    const { client, vm } = await trackedVm(lab);
    await lab.guestWrite(
      vm,
      2000,
      [0, 4, 8, 12].map((grain) => ({ offset: grain * GRAIN, data: Buffer.from('x') })),
    );
    const { result } = await client.createSnapshot(vm, 'one');
    const ask = async (lie?: ChangedAreasLie) => {
      if (lie) lab.setFault({ operation: 'QueryChangedDiskAreas', lie, times: 1, diskKey: 2000 });
      const { startOffset, length, areas } = await client.changedAreas(vm, result!, 2000, 0, '*');
      return { startOffset, length, grains: areas.map(({ offset }) => offset / GRAIN) };
    };
    const truth = { startOffset: 0, length: 64 * MiB, grains: [0, 4, 8, 12] };
    expect(await ask()).toEqual(truth);
    expect(await ask('omit_areas')).toEqual({ ...truth, grains: [4, 12] });
    expect(await ask('no_areas')).toEqual({ ...truth, grains: [] });
    expect(await ask('wrong_start_offset')).toEqual({ ...truth, startOffset: GRAIN });
    expect(await ask('short_length')).toEqual({ ...truth, length: 13 * GRAIN });
    expect(await ask('zero_length')).toEqual({ startOffset: 0, length: 0, grains: [] });
    expect(await ask('beyond_end')).toEqual({ ...truth, grains: [0, 4, 8, 12, 1025] });
    expect(await ask('unordered')).toEqual({ ...truth, grains: [12, 12, 8, 8, 4, 4, 0, 0] });
    expect(await ask()).toEqual(truth);
  });
});
