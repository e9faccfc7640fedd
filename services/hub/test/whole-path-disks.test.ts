import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import type { DiskSpec } from '@sendense/lab';
import { createLogger } from '@sendense/runtime';
import { eventually, requires } from '@sendense/runtime/testing';
import { Constellation, CONSTELLATION_TOOLS, NOTHING_LEFT } from './constellation.js';

const MIB = 2 ** 20;
const KIB = 2 ** 10;

/** Sizes that end inside a 64 KiB block, inside a MiB, and on neither. */
const SIZES = [MIB, 64 * KIB, 3 * MIB + 512, 512, 65 * KIB, 2 * MIB - 512, 7 * MIB + 33 * 512, 96 * KIB];
const CONTROLLERS = ['scsi0', 'scsi1', 'scsi2', 'scsi3', 'sata0', 'nvme0'] as const;

const disksOf = (count: number): DiskSpec[] =>
  Array.from({ length: count }, (_, index) => ({
    sizeBytes: SIZES[index % SIZES.length]!,
    controller: CONTROLLERS[index % CONTROLLERS.length]!,
  }));

requires(describe, ...CONSTELLATION_TOOLS)('the whole path, with all kinds of disks', () => {
  let all: Constellation;

  /** What hub, node and backup clients have logged, as it was written. */
  const logged: string[] = [];

  beforeAll(async () => {
    const destination = { write: (text: string) => void logged.push(text) };
    all = await Constellation.start({
      log: createLogger({ service: 'test', level: 'debug', destination }),
      node: { logLevel: 'debug' },
    });
  });

  afterAll(async () => {
    await all[Symbol.asyncDispose]();
  });

  afterEach(async () => {
    await eventually('nothing is left', () => {
      expect(all.leftovers()).toEqual(NOTHING_LEFT);
      return true;
    });
  });

  it.each([1, 2, 5, 16])(
    'backs up %i disks on several controllers, of one snapshot, each identical',
    async (count) => {
      const name = `with-${count}-disks`;
      const vm = await all.addVm({ name, disks: disksOf(count) }, 16 * MIB);
      expect(new Set(vm.disks.map(({ key }) => key)).size).toBe(count);
      const ended = await all.backUp(name);
      expect(ended).toMatchObject({ state: 'completed', error: null });
      const same = Object.fromEntries(vm.disks.map(({ key }) => [key, true]));
      expect(await all.compare(vm, ended)).toEqual(same);
      expect(all.snapshotsSince(vm)).toEqual({ created: 1, removed: 1 });
    },
    120_000,
  );

  it('an empty disk, a full one, one of zeros that the guest wrote, and one with all of it', async () => {
    const disks = Array.from({ length: 4 }, () => ({ sizeBytes: 5 * MIB + 512 }));
    const vm = await all.addVm({ name: 'kinds', disks }, 0);
    const [, full, zeros, mixed] = vm.disks.map(({ key }) => key);
    const { lab } = all;
    await lab.guestWrite(vm.moref, full!, { offset: 0, random: 'full', length: 5 * MIB + 512 });
    await lab.guestWrite(vm.moref, zeros!, { offset: 0, random: 'before', length: 5 * MIB });
    await lab.guestWrite(vm.moref, zeros!, { offset: 0, zeros: 5 * MIB + 512 });
    await lab.guestWrite(vm.moref, mixed!, [
      { offset: 100, random: 'a', length: 1000 },
      { offset: 64 * KIB - 1, random: 'b', length: 2 },
      { offset: 2 * MIB, zeros: MIB },
      { offset: 5 * MIB, random: 'end', length: 512 },
    ]);
    const ended = await all.backUp('kinds');
    expect(ended).toMatchObject({ state: 'completed', error: null });
    expect(Object.values(await all.compare(vm, ended))).toEqual([true, true, true, true]);
  });

  it('tells disks of the same unit number on different controllers apart', async () => {
    const disks = (['scsi0', 'scsi1', 'sata0'] as const).map((controller) => ({
      sizeBytes: MIB,
      controller,
      unitNumber: 0,
    }));
    const vm = await all.addVm({ name: 'same-units', disks });
    const ended = await all.backUp('same-units');
    expect(Object.values(await all.compare(vm, ended))).toEqual([true, true, true]);
    expect(new Set(ended.disk_results.map(({ qcow2_path: path }) => path)).size).toBe(3);
  });

  it('skips an independent disk, and names it', async () => {
    const disks: DiskSpec[] = [{ sizeBytes: MIB }, { sizeBytes: MIB, mode: 'independent_persistent' }];
    const vm = await all.addVm({ name: 'independent', disks });
    const ended = await all.backUp('independent');
    expect(ended.state).toBe('completed');
    const left = vm.disks[1]!.key;
    expect(ended).toMatchObject({ skipped_disks: [{ disk_key: left, reason: 'independent' }] });
    expect(await all.compare(vm, ended)).toEqual({ [vm.disks[0]!.key]: true });
  });

  it("leaves somebody else's snapshot and changed block tracking alone, and says so", async () => {
    const vm = await all.addVm({ name: 'foreign', disks: [{ sizeBytes: 2 * MIB }] }, MIB, ({ moref }) =>
      all.lab.createSnapshot(moref, { name: 'before the upgrade' }),
    );
    const { body } = await all.hub.get('/api/v1/vms?name=foreign');
    expect(body).toMatchObject({ vms: [{ change_tracking: { state: 'unavailable' } }] });
    await all.lab.guestWrite(vm.moref, 2000, { offset: MIB, random: 'since', length: 4096 });
    const ended = await all.backUp('foreign');
    expect(ended.state).toBe('completed');
    expect(await all.compare(vm, ended)).toEqual({ 2000: true });
    expect(all.lab.snapshots(vm.moref).map(({ name }) => name)).toEqual(['before the upgrade']);
    expect(all.lab.vm(vm.moref).changeTrackingEnabled).toBe(false);
    expect(ended.warnings.map(({ code }) => code)).toContain('change_tracking_off');
  });

  const names = [
    'a b',
    "it's",
    '../../etc',
    'a/b',
    'two\nlines',
    '🙂 emoji',
    '"quoted" $(id)',
    'x'.repeat(80),
  ];
  it.each([...names, `"it's" ../a/b\n\t\u0085\u202e🙂 `.padEnd(300, 'long ')])(
    'a VM named %j is backed up under its own name and a safe path',
    async (name) => {
      const vm = await all.addVm({ name, disks: [{ sizeBytes: MIB }] }, MIB);
      const ended = await all.backUp(name);
      expect(ended).toMatchObject({ state: 'completed', vm_name: name });
      expect(await all.compare(vm, ended)).toEqual({ 2000: true });
      const path = ended.disk_results[0]!.qcow2_path;
      expect(path.startsWith(`${all.repository.path}/ctx-`)).toBe(true);
      expect(path.slice(all.repository.path.length)).toMatch(/^(\/[A-Za-z0-9][A-Za-z0-9._-]{0,200})+$/);
      const { body } = await all.hub.get(`/api/v1/vms?name=${encodeURIComponent(name)}`);
      expect(body).toMatchObject({ vms: [{ vm_name: name }] });
    },
  );

  it('a line of the log stays one line, whatever is in the name that it tells', async () => {
    const name = 'two\nlines\t{"level":"error"}\u0085\u2028';
    const vm = await all.addVm({ name, disks: [{ sizeBytes: MIB }] }, MIB);
    await all.backUp(name);
    await all.lab.removeVm(vm.moref);
    const shown = String.raw`two\nlines\t{"level":"error"}\u{85}\u{2028}`;
    const gone = { code: 'vm_not_found', detail: expect.stringContaining(`${shown} (${vm.moref},`) };
    expect((await all.start(name)).body).toMatchObject(gone);
    const lines = logged.map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(lines.some((line) => line['vmName'] === name)).toBe(true);
    expect(lines.some(({ error }) => String(error).startsWith(`${shown} (${vm.moref},`))).toBe(true);
    expect(lines.some((line) => line['clientPid'] !== undefined)).toBe(true);
    expect(logged.filter((line) => line.indexOf('\n') !== line.length - 1)).toEqual([]);
    expect(logged.filter((line) => line.split('"jobId":').length > 2)).toEqual([]);
  });
});
