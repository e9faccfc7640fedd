import { readFile, stat, truncate, writeFile } from 'node:fs/promises';
import { describe, expect, it } from '@jest/globals';
import { requires, temporaryDirectory } from '@sendense/runtime/testing';
import { startLab } from '../src/index.js';
import { compareImages } from './nbdkit.js';
import { element, SoapClient } from './soap-client.js';

const describeWith = requires(describe, 'openssl', 'qemu-img');
const MiB = 1 << 20;
const GiB = 2 ** 30;

describeWith('virtual machines of the lab', () => {
  it('put disks where vSphere would, and refuse places that are taken or not there', async () => {
    using folder = temporaryDirectory();
    await using lab = await startLab({ directory: folder.path });
    const disks = Array.from({ length: 16 }, (_, index) => ({
      sizeBytes: MiB,
      controller: (['scsi0', 'scsi1', 'sata0', 'nvme1'] as const)[index % 4]!,
    }));
    const vm = await lab.createVm({
      name: 'many',
      disks: [...disks, { sizeBytes: MiB, key: 203, controller: 'ide0' }],
    });
    expect(vm.disks.map(({ key }) => key)).toEqual(
      [
        203, 2000, 2001, 2002, 2003, 2016, 2017, 2018, 2019, 16_000, 16_001, 16_002, 16_003, 32_015, 32_016,
        32_017,
      ].concat(32_018),
    );
    const eight = Array.from({ length: 8 }, () => ({ sizeBytes: MiB }));
    const full = await lab.createVm({ name: 'full', disks: eight });
    // Unit 7 is the controller's own.
    expect(full.disks.map(({ unitNumber }) => unitNumber)).toEqual([0, 1, 2, 3, 4, 5, 6, 8]);
    await expect(lab.addDisk('full', { sizeBytes: MiB, unitNumber: 3 })).rejects.toMatchObject({
      code: 'already_exists',
    });
    for (const wrong of [
      { sizeBytes: 1000 },
      { sizeBytes: 0 },
      { sizeBytes: MiB, controller: 'scsi9' as const },
      { sizeBytes: MiB, unitNumber: 99 },
    ]) {
      await expect(lab.addDisk('full', wrong)).rejects.toMatchObject({ code: 'invalid_argument' });
    }
  });

  it('have any names that XML can carry, each with files of its own', async () => {
    using folder = temporaryDirectory();
    await using lab = await startLab({ directory: folder.path });
    const names = [
      'a/b',
      'a b',
      '../../etc/passwd',
      '"quoted" & <marked>',
      'line\nbreak',
      '🚀',
      'x'.repeat(300),
      '%2f',
    ];
    for (const name of names) await lab.createVm({ name, disks: [{ sizeBytes: MiB }] });
    expect(lab.vms().map(({ name }) => name)).toEqual(names);
    const files = lab.vms().map(({ disks }) => disks[0]!.fileName);
    expect(new Set(files).size).toBe(names.length);
    for (const file of files) expect(file).toMatch(/^\[labds\] [\w.-]+\/[\w.-]+\.vmdk$/);
    await expect(lab.createVm({ name: 'a/b' })).rejects.toMatchObject({ code: 'already_exists' });
    for (const wrong of ['', 'bell\u0007', '\ud800']) {
      await expect(lab.createVm({ name: wrong })).rejects.toMatchObject({ code: 'invalid_argument' });
    }
    const client = await SoapClient.login(lab);
    const shown = await Promise.all(
      lab
        .vms()
        .map(async ({ moref }) => client.value('Fetch', 'VirtualMachine', moref, [element('prop', 'name')])),
    );
    expect(shown.slice(0, 3)).toEqual(['a%2fb', 'a b', '..%2f..%2fetc%2fpasswd']);
    expect(shown.at(-1)).toBe('%252f');
  });

  it('get another disk in the place of one: the same key, another backing, empty, untracked until a stun', async () => {
    using folder = temporaryDirectory();
    await using lab = await startLab({ directory: folder.path, keepFrozenImages: true });
    const vm = await lab.createVm({
      name: 'pgtest1',
      disks: [{ sizeBytes: MiB }, { sizeBytes: MiB, controller: 'scsi1' }],
      changeTrackingEnabled: true,
    });
    const [kept, old] = vm.disks;
    await lab.guestWrite(vm.moref, old!.key, { offset: 0, random: 'old', length: MiB });
    await lab.createSnapshot(vm.moref, { name: 'before' });
    const replaced = await lab.replaceDisk(vm.moref, old!.key, { sizeBytes: 2 * MiB });
    expect(replaced).toMatchObject({ key: old!.key, controllerKey: old!.controllerKey, sizeBytes: 2 * MiB });
    expect(replaced.uuid).not.toBe(old!.uuid);
    expect(replaced).not.toHaveProperty('changeId');
    expect(lab.vm(vm.moref).disks[0]).toMatchObject({ uuid: kept!.uuid });
    const image = await readFile(await lab.diskImage(vm.moref, old!.key));
    expect(image.equals(Buffer.alloc(2 * MiB))).toBe(true);
    // The snapshot holds the old one.
    const frozen = await readFile(await lab.diskImage(vm.moref, old!.key, { snapshot: 'before' }));
    expect(frozen.length).toBe(MiB);
    await lab.removeSnapshot(vm.moref, 'before');
    expect(lab.vm(vm.moref).consolidationNeeded).toBe(false);
    await lab.createSnapshot(vm.moref, { name: 'after' });
    expect(lab.vm(vm.moref).disks[1]).toHaveProperty('changeId');
    expect((await lab.replaceDisk(vm.moref, old!.key)).sizeBytes).toBe(2 * MiB);
    await expect(lab.replaceDisk(vm.moref, old!.key, { sizeBytes: 7 })).rejects.toMatchObject({
      code: 'invalid_argument',
    });
    await expect(lab.replaceDisk(vm.moref, 2005)).rejects.toMatchObject({ code: 'not_found' });
  });

  it('freeze all disks at one instant, and only those that a snapshot holds', async () => {
    using folder = temporaryDirectory();
    await using lab = await startLab({ directory: folder.path });
    const vm = await lab.createVm({
      name: 'pgtest1',
      disks: [
        { sizeBytes: MiB },
        { sizeBytes: MiB },
        { sizeBytes: MiB, mode: 'independent_persistent' },
        { sizeBytes: MiB, backing: 'physical_rdm' },
        { sizeBytes: MiB, multiWriter: true },
        { sizeBytes: MiB, busShared: true, controller: 'scsi2' },
        { sizeBytes: MiB, backing: 'virtual_rdm' },
      ],
    });
    // The guest writes the same number to the one disk and then to the other.
    const writing = (async () => {
      for (let number = 1; number <= 200; number++) {
        const data = Buffer.alloc(4);
        data.writeUInt32LE(number);
        await lab.guestWrite(vm.moref, 2000, { offset: 0, data });
        await lab.guestWrite(vm.moref, 2001, { offset: 0, data });
      }
    })();
    for (let round = 0; round < 10; round++) {
      const snapshot = await lab.createSnapshot(vm.moref, { name: `round ${round}` });
      expect(snapshot.disks.map(({ key }) => key)).toEqual([2000, 2001, 2005]);
      const [first, second] = await Promise.all(
        [2000, 2001].map(async (key) =>
          (await readFile(await lab.diskImage(vm.moref, key, { snapshot: snapshot.moref }))).readUInt32LE(0),
        ),
      );
      expect([0, 1]).toContain(first! - second!);
    }
    await writing;
    await expect(lab.diskImage(vm.moref, 2002, { snapshot: 'round 0' })).rejects.toMatchObject({
      code: 'not_found',
    });
  });

  it('keep the content of a disk that was taken away while a snapshot or a kept image needs it', async () => {
    using folder = temporaryDirectory();
    await using lab = await startLab({ directory: folder.path, keepFrozenImages: true });
    await lab.createVm({ name: 'pgtest1', disks: [{ sizeBytes: MiB }, { sizeBytes: 2 * MiB }] });
    await lab.guestWrite('pgtest1', 2001, { offset: 0, random: 'x', length: 2 * MiB });
    const snapshot = await lab.createSnapshot('pgtest1', { name: 'one' });
    const before = await readFile(await lab.diskImage('pgtest1', 2001));
    await lab.removeDisk('pgtest1', 2001);
    expect(lab.vm('pgtest1').disks.map(({ key }) => key)).toEqual([2000]);
    await lab.removeSnapshot('pgtest1', 'one');
    const kept = await lab.diskImage('pgtest1', 2001, { snapshot: snapshot.moref });
    expect((await readFile(kept)).equals(before)).toBe(true);
    // Another disk at the same key is another disk.
    const added = await lab.addDisk('pgtest1', { sizeBytes: MiB });
    expect(added).toMatchObject({ key: 2001, sizeBytes: MiB });
    expect(added.uuid).not.toBe(snapshot.disks[1]!.uuid);
  });
});

describeWith('guest writes', () => {
  it('write files without their holes, or with them as zeros', async () => {
    using folder = temporaryDirectory();
    await using lab = await startLab({ directory: `${folder.path}/lab` });
    const file = `${folder.path}/file`;
    await writeFile(file, Buffer.alloc(100_000, 'a'));
    await truncate(file, 300 * GiB + 777);
    const disk = { sizeBytes: 400 * GiB };
    await lab.createVm({ name: 'pgtest1', disks: [disk, { sizeBytes: 2 * MiB }] });
    // 300 GiB of hole cost nothing.
    await lab.guestWrite('pgtest1', 2000, { offset: 512, fromFile: file });
    const image = await lab.diskImage('pgtest1', 2000);
    expect((await stat(image)).blocks * 512).toBeLessThan(MiB);

    await lab.guestWrite('pgtest1', 2001, { offset: 0, random: 'before', length: 2 * MiB });
    await truncate(file, MiB);
    await lab.guestWrite('pgtest1', 2001, { offset: 1000, fromFile: file });
    const skipped = await readFile(await lab.diskImage('pgtest1', 2001));
    expect(skipped.subarray(1000, 101_000).equals(Buffer.alloc(100_000, 'a'))).toBe(true);
    expect(skipped.subarray(500_000, MiB).every((byte) => byte === 0)).toBe(false);
    await lab.guestWrite('pgtest1', 2001, { offset: 1000, fromFile: file, sparse: false });
    const whole = await readFile(await lab.diskImage('pgtest1', 2001));
    expect(whole.subarray(101_000, 1000 + MiB).every((byte) => byte === 0)).toBe(true);
    expect(whole.subarray(1000 + MiB).equals(skipped.subarray(1000 + MiB))).toBe(true);
  });

  it('are the same for the same seed, and stay inside the disk', async () => {
    using folder = temporaryDirectory();
    await using lab = await startLab({ directory: folder.path });
    await lab.createVm({ name: 'pgtest1', disks: [{ sizeBytes: 4 * MiB }, { sizeBytes: 4 * MiB }] });
    for (const key of [2000, 2001]) {
      await lab.guestWrite('pgtest1', key, { offset: 12_345, random: 'seed', length: 3 * MiB });
    }
    await compareImages(await lab.diskImage('pgtest1', 2000), await lab.diskImage('pgtest1', 2001));
    for (const wrong of [
      { offset: 4 * MiB, data: Buffer.alloc(1) },
      { offset: -1, data: Buffer.alloc(1) },
      { offset: 0, zeros: 4 * MiB + 1 },
      { offset: 0.5, random: 'x', length: 1 },
    ]) {
      await expect(lab.guestWrite('pgtest1', 2000, wrong)).rejects.toMatchObject({
        code: 'invalid_argument',
      });
    }
    await expect(lab.guestWrite('pgtest1', 1999, { offset: 0, zeros: 1 })).rejects.toMatchObject({
      code: 'not_found',
    });
  });
});

describeWith('the start of change tracking', () => {
  it.each([false, true])('gives changeIds in the first snapshot: %s', async (changeIdsInFirstSnapshot) => {
    using folder = temporaryDirectory();
    await using lab = await startLab({ directory: folder.path, taskDurationMs: 0, changeIdsInFirstSnapshot });
    const { moref } = await lab.createVm({ name: 'pgtest1', disks: [{ sizeBytes: MiB }] });
    const client = await SoapClient.login(lab);
    const enable = '<spec><changeTrackingEnabled>true</changeTrackingEnabled></spec>';
    expect((await client.task('ReconfigVM_Task', 'VirtualMachine', moref, [enable])).state).toBe('success');
    expect(lab.vm(moref)).toMatchObject({ changeTrackingEnabled: true });
    expect(lab.vm(moref).disks[0]!.changeId).toBeUndefined();
    const { result: first } = await client.createSnapshot(moref, 'first');
    const { changeId } = lab.snapshots(moref)[0]!.disks[0]!;
    expect(changeId !== undefined).toBe(changeIdsInFirstSnapshot);
    await lab.guestWrite(moref, 2000, { offset: 200_000, data: Buffer.from('x') });
    await client.removeSnapshot(first!);
    const { result: second } = await client.createSnapshot(moref, 'second');
    expect(lab.snapshots(moref)[0]!.disks[0]!.changeId).toMatch(/^([0-9a-f]{2}[ -]){15}[0-9a-f]{2}\/\d+$/);
    // Enabled without a snapshot: what is allocated is known in either case.
    expect((await client.changedAreas(moref, second!, 2000, 0, '*')).areas).toEqual([
      { offset: 196_608, length: 65_536 },
    ]);
    if (changeId !== undefined) {
      expect((await client.changedAreas(moref, second!, 2000, 0, changeId)).areas).toEqual([
        { offset: 196_608, length: 65_536 },
      ]);
    }
  });

  it('is refused by a VM that does not support it', async () => {
    using folder = temporaryDirectory();
    await using lab = await startLab({ directory: folder.path });
    const { moref } = await lab.createVm({
      name: 'old',
      changeTrackingSupported: false,
      hardwareVersion: 'vmx-04',
    });
    const client = await SoapClient.login(lab);
    const enable = '<spec><changeTrackingEnabled>true</changeTrackingEnabled></spec>';
    expect((await client.call('ReconfigVM_Task', 'VirtualMachine', moref, [enable])).fault).toBe(
      'NotSupported',
    );
  });
});
