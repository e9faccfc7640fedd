import { describe, expect, it } from '@jest/globals';
import { runCommand } from '@sendense/runtime';
import { eventually, requires, temporaryDirectory } from '@sendense/runtime/testing';
import { startLab, type GuestWrite, type Lab } from '../src/index.js';
import {
  compareImages,
  copyOut,
  diskMap,
  qemuMap,
  serveDisk,
  VDDK_LIBRARY,
  VDDK_PLUGIN,
  type ServedDisk,
} from './nbdkit.js';

const describeWith = requires(
  describe,
  'nbdkit',
  'nbdcopy',
  'nbdinfo',
  'qemu-img',
  VDDK_PLUGIN,
  VDDK_LIBRARY,
);
const MiB = 1 << 20;
const GiB = 1 << 30;

/** A VM with one disk, some of it written, and a snapshot. */
async function frozenDisk(lab: Lab, sizeBytes: number, writes: readonly GuestWrite[]): Promise<ServedDisk> {
  const vm = await lab.createVm({ name: 'pgtest1', disks: [{ sizeBytes }] });
  await lab.guestWrite(vm.moref, 2000, writes);
  const snapshot = await lab.createSnapshot('pgtest1', { name: 'backup' });
  return { vm: vm.moref, snapshot: snapshot.moref, fileName: '[labds] pgtest1/pgtest1.vmdk' };
}

/** Whether a client gets the disk, and what nbdkit says otherwise. */
async function openError(lab: Lab, folder: string, disk: ServedDisk, override: Record<string, string> = {}) {
  await using nbdkit = await serveDisk(lab, folder, disk, override);
  const { exitCode } = await runCommand('nbdinfo', ['--size', nbdkit.uri], {
    code: 'process_failed',
    what: 'nbdinfo',
    accept: [0, 1],
  });
  return exitCode === 0 ? undefined : nbdkit.stderrTail();
}

describeWith('the stand-in libvixDiskLib under the real nbdkit and its vddk plugin', () => {
  it('serves a frozen disk byte for byte, many requests in flight, while the guest goes on writing', async () => {
    using folder = temporaryDirectory();
    await using lab = await startLab({ directory: `${folder.path}/lab` });
    const disk = await frozenDisk(lab, 64 * MiB + 512, [
      { offset: 12_345, random: 'first', length: 20 * MiB },
      { offset: 64 * MiB, random: 'the last sector', length: 512 },
      { offset: 30 * MiB, zeros: 3 * MiB },
    ]);
    const frozen = await lab.diskImage('pgtest1', 2000, { snapshot: disk.snapshot });
    await using nbdkit = await serveDisk(lab, folder.path, disk);
    const copy = `${folder.path}/copy.raw`;
    const writing = (async () => {
      for (let round = 0; round < 40; round++) {
        await lab.guestWrite(disk.vm, 2000, {
          offset: round * MiB + 77,
          random: `later ${round}`,
          length: MiB,
        });
      }
    })();
    await Promise.all([copyOut(nbdkit.uri, copy, '--requests=64'), writing]);
    await compareImages(copy, frozen);
    await expect(compareImages(await lab.diskImage('pgtest1', 2000), frozen)).rejects.toThrow(/exit code 1/);
  });

  it('reads through several deltas, and goes on while a snapshot below is merged away', async () => {
    using folder = temporaryDirectory();
    await using lab = await startLab({ directory: `${folder.path}/lab` });
    const older = await frozenDisk(lab, 32 * MiB, [{ offset: 0, random: 'a', length: 32 * MiB }]);
    await lab.guestWrite('pgtest1', 2000, { offset: 5 * MiB + 3, random: 'b', length: 9 * MiB });
    const newer = await lab.createSnapshot('pgtest1', { name: 'newer' });
    const frozen = await lab.diskImage('pgtest1', 2000, { snapshot: 'newer' });
    const disk = { vm: older.vm, snapshot: newer.moref, fileName: newer.disks[0]!.fileName };
    expect(disk.fileName).toBe('[labds] pgtest1/pgtest1-000001.vmdk');
    await using nbdkit = await serveDisk(lab, folder.path, disk);
    const slow = lab.setFault({ operation: 'vddk.read', delayMs: 20 });
    const copy = copyOut(nbdkit.uri, `${folder.path}/copy.raw`, '--requests=1', '--request-size=262144');
    await eventually('the copy runs', () => lab.faults()[0]!.struck > 2);
    await lab.removeSnapshot('pgtest1', older.snapshot);
    lab.clearFaults(slow);
    await copy;
    await compareImages(`${folder.path}/copy.raw`, frozen);
    // The newer snapshot consists of the base file alone now, under the base's name.
    const merged = lab.snapshots('pgtest1')[0]!.disks[0]!.fileName;
    expect(merged).toBe('[labds] pgtest1/pgtest1.vmdk');
    await using again = await serveDisk(lab, folder.path, { ...disk, fileName: merged });
    await copyOut(again.uri, `${folder.path}/again.raw`);
    await compareImages(`${folder.path}/again.raw`, frozen);
  });

  it('holds reads until the fault is cleared', async () => {
    using folder = temporaryDirectory();
    await using lab = await startLab({ directory: `${folder.path}/lab` });
    const disk = await frozenDisk(lab, MiB, [{ offset: 0, random: 'a', length: MiB }]);
    await using nbdkit = await serveDisk(lab, folder.path, disk);
    lab.setFault({ operation: 'vddk.read', delayMs: 3_600_000, fault: '14009' });
    const copy = copyOut(nbdkit.uri, `${folder.path}/copy.raw`);
    await eventually('it is held', () => lab.faults()[0]!.struck > 0);
    lab.clearFaults();
    await copy;
  });

  it('refuses reads of a snapshot that was removed, instead of mixing old and new', async () => {
    using folder = temporaryDirectory();
    await using lab = await startLab({ directory: `${folder.path}/lab` });
    const disk = await frozenDisk(lab, 4 * MiB, [{ offset: 0, random: 'a', length: 4 * MiB }]);
    await using nbdkit = await serveDisk(lab, folder.path, disk);
    // One open connection, as a running backup has: it must notice, too.
    lab.setFault({ operation: 'vddk.read', delayMs: 100 });
    const copy = copyOut(nbdkit.uri, `${folder.path}/copy.raw`, '--requests=1', '--request-size=65536');
    await eventually('the copy runs', () => lab.faults()[0]!.struck > 2);
    await lab.removeSnapshot('pgtest1', disk.snapshot);
    await expect(copy).rejects.toThrow();
    expect(nbdkit.stderrTail()).toContain('The snapshot cannot be found');
  });

  it('tells allocated blocks from holes, zeros that the guest wrote included', async () => {
    using folder = temporaryDirectory();
    await using lab = await startLab({ directory: `${folder.path}/lab` });
    const disk = await frozenDisk(lab, 10 * MiB + 1024, [
      { offset: MiB, data: Buffer.from('one byte or a few') },
      { offset: 3 * MiB, zeros: MiB },
      { offset: 10 * MiB, data: Buffer.alloc(1024, 1) },
    ]);
    await using nbdkit = await serveDisk(lab, folder.path, disk);
    expect(await diskMap(nbdkit.uri)).toEqual([
      { offset: 0, length: MiB, hole: true },
      { offset: MiB, length: 65_536, hole: false },
      { offset: MiB + 65_536, length: 2 * MiB - 65_536, hole: true },
      { offset: 3 * MiB, length: MiB, hole: false },
      { offset: 4 * MiB, length: 6 * MiB, hole: true },
      { offset: 10 * MiB, length: 1024, hole: false },
    ]);
  });

  it('refuses reads of more than 2 MiB, as real hosts do behind vCenter', async () => {
    using folder = temporaryDirectory();
    await using lab = await startLab({ directory: `${folder.path}/lab` });
    const disk = await frozenDisk(lab, 8 * MiB, []);
    await using nbdkit = await serveDisk(lab, folder.path, disk);
    await copyOut(nbdkit.uri, `${folder.path}/copy.raw`, '--no-extents', `--request-size=${2 * MiB}`);
    await expect(
      copyOut(nbdkit.uri, `${folder.path}/copy.raw`, '--no-extents', `--request-size=${4 * MiB}`),
    ).rejects.toThrow();
    expect(nbdkit.stderrTail()).toContain('NFC error 5');
  });

  it('makes a huge thin disk cost its data, and a thick one be all allocated', async () => {
    using folder = temporaryDirectory();
    await using lab = await startLab({ directory: `${folder.path}/lab` });
    const vm = await lab.createVm({
      name: 'huge',
      disks: [{ sizeBytes: 8 * 1024 * GiB }, { sizeBytes: 8 * MiB, thin: false }],
    });
    await lab.guestWrite('huge', 2000, [
      { offset: 5 * 1024 * GiB + 7, random: 'far out', length: 3 * MiB },
      { offset: 8 * 1024 * GiB - 512, data: Buffer.alloc(512, 7) },
    ]);
    const snapshot = await lab.createSnapshot('huge', { name: 'backup' });
    const [huge, thick] = snapshot.disks.map(({ fileName }) => ({
      vm: vm.moref,
      snapshot: snapshot.moref,
      fileName,
    }));
    await using far = await serveDisk(lab, folder.path, huge!);
    const data = (await qemuMap(far.uri)).filter(({ hole }) => !hole);
    expect(data).toEqual([
      { offset: 5 * 1024 * GiB, length: 3 * MiB + 65_536, hole: false },
      { offset: 8 * 1024 * GiB - 65_536, length: 65_536, hole: false },
    ]);
    await using full = await serveDisk(lab, folder.path, thick!);
    expect(await diskMap(full.uri)).toEqual([{ offset: 0, length: 8 * MiB, hole: false }]);
  });

  it.each([
    ['a wrong password', { password: 'wrong' }, 'incorrect user name or password'],
    ['a wrong user', { user: 'somebody' }, 'Insufficient permissions'],
    ['a wrong thumbprint', { thumbprint: '00:11:22' }, 'SSL certificate verification failed'],
    ['an unknown server', { server: '192.0.2.1' }, 'could not be contacted'],
    ['an unknown VM', { vm: 'moref=vm-999' }, 'virtual machine cannot be found'],
    ['an unknown snapshot', { snapshot: 'snapshot-999' }, 'snapshot cannot be found'],
    ['a snapshot that is a path', { snapshot: '../vm-1/x' }, 'snapshot cannot be found'],
    ['an unknown disk', { file: '[labds] pgtest1/other.vmdk' }, 'A file was not found'],
    [
      'transports that are not there',
      { transports: 'san:hotadd' },
      'You do not have access rights to this file',
    ],
  ])('refuses %s, and says why', async (_what, override, reason) => {
    using folder = temporaryDirectory();
    await using lab = await startLab({ directory: `${folder.path}/lab` });
    const disk = await frozenDisk(lab, MiB, []);
    expect(await openError(lab, folder.path, disk)).toBeUndefined();
    expect(await openError(lab, folder.path, disk, override)).toContain(reason);
  });

  it('names the transport that it uses, and knows its own version of the library', async () => {
    using folder = temporaryDirectory();
    await using lab = await startLab({ directory: `${folder.path}/lab` });
    const disk = await frozenDisk(lab, MiB, []);
    expect(await openError(lab, folder.path, disk, { transports: 'san:nbd:nbdssl' })).toBeUndefined();
    const dump = await runCommand('nbdkit', [VDDK_PLUGIN, '--dump-plugin', `libdir=${lab.vddkLibdir}`], {
      code: 'process_failed',
      what: 'nbdkit --dump-plugin',
    });
    expect(dump.stdout).toContain('vddk_library_version=8');
    expect(dump.stdout).toContain('vddk_transport_modes=nbdssl:nbd');
  });
});

describeWith('faults of VDDK', () => {
  it('fails reads at a place as often as it was told, over all processes', async () => {
    using folder = temporaryDirectory();
    await using lab = await startLab({ directory: `${folder.path}/lab` });
    const disk = await frozenDisk(lab, 4 * MiB, [{ offset: 0, random: 'a', length: 4 * MiB }]);
    const extent = { offset: 2 * MiB, length: 512 };
    const id = lab.setFault({ operation: 'vddk.read', fault: '14011', times: 2, extent });
    for (let attempt = 1; attempt <= 2; attempt++) {
      await using nbdkit = await serveDisk(lab, folder.path, disk);
      await expect(copyOut(nbdkit.uri, `${folder.path}/copy.raw`)).rejects.toThrow();
      expect(nbdkit.stderrTail()).toContain('The connection was lost');
      expect(lab.faults()).toMatchObject([{ id, struck: attempt }]);
    }
    await using nbdkit = await serveDisk(lab, folder.path, disk);
    await copyOut(nbdkit.uri, `${folder.path}/copy.raw`);
    await compareImages(`${folder.path}/copy.raw`, await lab.diskImage('pgtest1', 2000));
  });

  it('delays each read by itself, so that requests in flight wait together', async () => {
    using folder = temporaryDirectory();
    await using lab = await startLab({ directory: `${folder.path}/lab` });
    const disk = await frozenDisk(lab, 2 * MiB, [{ offset: 0, random: 'a', length: 2 * MiB }]);
    lab.setFault({ operation: 'vddk.read', delayMs: 50 });
    await using nbdkit = await serveDisk(lab, folder.path, disk);
    const timed = async (requests: number): Promise<number> => {
      const started = performance.now();
      const options = [`--requests=${requests}`, '--request-size=65536'];
      await copyOut(nbdkit.uri, `${folder.path}/copy-${requests}.raw`, ...options);
      return performance.now() - started;
    };
    // 32 reads: 1.6 s one after another, however fast the machine is.
    expect(await timed(32)).toBeLessThan((await timed(1)) / 2);
  });

  it('ends the process in the middle, as a crash in the library does', async () => {
    using folder = temporaryDirectory();
    await using lab = await startLab({ directory: `${folder.path}/lab` });
    const disk = await frozenDisk(lab, 4 * MiB, [{ offset: 0, random: 'a', length: 4 * MiB }]);
    lab.setFault({ operation: 'vddk.read', crash: true, after: 3, times: 1 });
    await using nbdkit = await serveDisk(lab, folder.path, disk);
    await expect(copyOut(nbdkit.uri, `${folder.path}/copy.raw`)).rejects.toThrow();
    expect((await nbdkit.exited).signal).toBe('SIGKILL');
  });

  it.each([
    ['vddk.connect', '14009', 'The server refused connection'],
    ['vddk.open', '13', 'You do not have access rights to this file'],
    ['vddk.init', '6', 'The operation is not supported'],
  ])('fails %s', async (operation, fault, reason) => {
    using folder = temporaryDirectory();
    await using lab = await startLab({ directory: `${folder.path}/lab` });
    const disk = await frozenDisk(lab, MiB, []);
    lab.setFault({ operation, fault, times: 1 });
    expect(await openError(lab, folder.path, disk)).toContain(reason);
    expect(await openError(lab, folder.path, disk)).toBeUndefined();
  });

  it('strikes only the VM and the disk that it is for, and not once it is taken back', async () => {
    using folder = temporaryDirectory();
    await using lab = await startLab({ directory: `${folder.path}/lab` });
    const disk = await frozenDisk(lab, MiB, []);
    await lab.createVm({ name: 'other' });
    lab.setFault({ operation: 'vddk.open', fault: '13', vm: 'other' });
    lab.setFault({ operation: 'vddk.open', fault: '13', diskKey: 2001 });
    expect(await openError(lab, folder.path, disk)).toBeUndefined();
    lab.setFault({ operation: 'vddk.open', fault: '13', vm: 'pgtest1', diskKey: 2000 });
    expect(await openError(lab, folder.path, disk)).toContain('access rights');
    lab.clearFaults('vddk.open');
    expect(await openError(lab, folder.path, disk)).toBeUndefined();
  });
});
