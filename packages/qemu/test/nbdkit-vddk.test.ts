import { existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { processesOwnedBy, silentLogger as log } from '@sendense/runtime';
import { requires, temporaryDirectory } from '@sendense/runtime/testing';
import { checkNbdkit, NbdkitVddk, requireNbdkit, type NbdkitVddkOptions } from '../src/index.js';
import { ownerOf, probe, run, uriOf } from './tools.js';

const root = join(import.meta.dirname, '..', '..', '..', '..');
const plugin =
  process.env['SENDENSE_NBDKIT_VDDK_PLUGIN'] ?? join(root, '.tools', 'vddk-plugin', 'nbdkit-vddk-plugin.so');
/** The stand-in for VMware's library that packages/lab builds. */
const libdir = join(root, 'packages', 'lab', 'native', 'build', 'vddk');
const library = join(libdir, 'lib64', 'libvixDiskLib.so.8');

const PASSWORD = "planted 'secret' <&> 7f3a";
const SHA1 = 'AB'.repeat(20);
const SIZE = 3 * 65_536 + 512;

function options(folder: string, name: string): NbdkitVddkOptions {
  return {
    plugin,
    libdir,
    server: 'vc.test',
    username: 'backup@vsphere.local',
    password: PASSWORD,
    thumbprintSha1: SHA1,
    vmMoref: 'vm-57',
    snapshotMoref: 'snapshot-58',
    diskFile: '[ds 1] pgtest1/pgtest1.vmdk',
    socketPath: join(folder, `${name}.sock`),
    owner: ownerOf(name),
    log,
    probe,
  };
}

/** What the library serves: the directory that packages/lab/native/directory.c describes, by hand. */
function publishDisk(directory: string, content: Buffer): void {
  const vm = join(directory, 'vms', 'vm-57');
  mkdirSync(vm, { recursive: true });
  const server = { host: 'vc.test', port: 443, user: 'backup@vsphere.local', password: PASSWORD, sha1: SHA1 };
  writeFileSync(
    join(directory, 'server'),
    Object.entries(server)
      .map(([name, value]) => `${name} ${value}\n`)
      .join(''),
  );
  const data = join(directory, 'data');
  const map = join(directory, 'map');
  writeFileSync(data, content);
  writeFileSync(map, Buffer.alloc(Math.ceil(content.length / 65_536), 2));
  writeFileSync(
    join(vm, 'snapshot-58.disks'),
    `disk\t2000\t${content.length}\t6000C29-uuid\t[ds 1] pgtest1/pgtest1.vmdk\nlayer\t${content.length}\t${data}\t${map}\n`,
  );
  writeFileSync(join(vm, 'snapshot-58.alive'), Buffer.from([1]));
}

requires(
  describe,
  'nbdkit',
  'nbdinfo',
  'nbdcopy',
  plugin,
  library,
)('nbdkit with the VDDK plugin', () => {
  const lab = temporaryDirectory();
  const content = randomBytes(SIZE);
  beforeAll(() => {
    publishDisk(lab.path, content);
    process.env['LAB_VDDK_DIR'] = lab.path;
  });
  afterAll(() => {
    delete process.env['LAB_VDDK_DIR'];
    lab[Symbol.dispose]();
  });

  it('serves a disk of a snapshot, read-only, and leaves nothing when it is released', async () => {
    using folder = temporaryDirectory();
    const wanted = { ...options(folder.path, 'disk'), expectedSizeBytes: SIZE };
    {
      await using nbdkit = await NbdkitVddk.start(wanted);
      expect(nbdkit.sizeBytes).toBe(SIZE);
      const copy = join(folder.path, 'copy');
      await run('nbdcopy', [uriOf(nbdkit.address, nbdkit.exportName), copy]);
      expect(readFileSync(copy).equals(content)).toBe(true);
    }
    expect(processesOwnedBy(wanted.owner)).toEqual([]);
    expect(readdirSync(folder.path)).toEqual(['copy']);
  });

  it('shows its password to nobody', async () => {
    using folder = temporaryDirectory();
    await using nbdkit = await NbdkitVddk.start(options(folder.path, 'quiet'));
    for (const file of ['cmdline', 'environ'])
      expect(readFileSync(`/proc/${nbdkit.pid}/${file}`, 'latin1')).not.toContain('planted');
    expect(readdirSync(folder.path).sort()).toEqual(['quiet.sock', 'quiet.sock.pid']);
    const open = readdirSync('/proc/self/fd').map((fd) => {
      try {
        return readlinkSync(`/proc/self/fd/${fd}`);
      } catch {
        return '';
      }
    });
    expect(open.filter((target) => target.includes('quiet.sock'))).toEqual([]);
  });

  it.each([
    ['a wrong password', { password: 'planted-wrong' }, /incorrect user name or password/],
    ['a wrong thumbprint', { thumbprintSha1: 'CD'.repeat(20) }, /thumbprint/],
    ['an unknown disk', { diskFile: '[ds 1] other/other.vmdk' }, /\[ds 1\] other\/other\.vmdk/],
    ['a snapshot that is gone', { snapshotMoref: 'snapshot-1' }, /snapshot-1/],
  ])('says why a disk cannot be opened: %s', async (_, change, reason) => {
    using folder = temporaryDirectory();
    const wanted = { ...options(folder.path, 'refused'), ...change };
    const error = await NbdkitVddk.start(wanted).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 'nbdkit_failed', message: expect.stringMatching(reason) });
    expect((error as Error).message).toMatch(/VixDiskLib/);
    expect(JSON.stringify(error) + (error as Error).message).not.toContain('planted');
    expect(processesOwnedBy(wanted.owner)).toEqual([]);
    expect(readdirSync(folder.path)).toEqual([]);
  });

  it('refuses a disk of another size', async () => {
    using folder = temporaryDirectory();
    const wanted = { ...options(folder.path, 'size'), expectedSizeBytes: SIZE + 512 };
    await expect(NbdkitVddk.start(wanted)).rejects.toMatchObject({ code: 'disk_size_mismatch' });
    expect(processesOwnedBy(wanted.owner)).toEqual([]);
  });

  it('reports that it was killed, and starts again where the dead one left its socket', async () => {
    using folder = temporaryDirectory();
    const wanted = options(folder.path, 'killed');
    {
      await using nbdkit = await NbdkitVddk.start(wanted);
      process.kill(nbdkit.pid, 'SIGKILL');
      expect(await nbdkit.died).toMatchObject({
        code: 'nbdkit_died',
        message: expect.stringMatching(/pgtest1\.vmdk.*SIGKILL/),
      });
      expect(existsSync(wanted.socketPath)).toBe(true);
      await using again = await NbdkitVddk.start(wanted);
      expect(again.sizeBytes).toBe(SIZE);
    }
    expect(readdirSync(folder.path)).toEqual([]);
  });

  it('stops waiting when it is cancelled', async () => {
    using folder = temporaryDirectory();
    const stop = new AbortController();
    const wanted = {
      ...options(folder.path, 'cancelled'),
      signal: stop.signal,
      probe: (_address: unknown, _name: unknown, signal?: AbortSignal) =>
        new Promise<never>((_, reject) => {
          signal?.addEventListener('abort', () => reject(new Error('aborted')));
          stop.abort();
        }),
    };
    await expect(NbdkitVddk.start(wanted)).rejects.toMatchObject({ code: 'cancelled' });
    expect(processesOwnedBy(wanted.owner)).toEqual([]);
  });

  it('tells a missing nbdkit, plugin and library apart', async () => {
    using folder = temporaryDirectory();
    const wanted = options(folder.path, 'missing');
    const broken = join(folder.path, 'broken');
    mkdirSync(join(broken, 'lib64'), { recursive: true });
    writeFileSync(join(broken, 'lib64', 'libvixDiskLib.so.8'), 'no library');
    const start = (change: Partial<NbdkitVddkOptions>) => NbdkitVddk.start({ ...wanted, ...change });
    await expect(start({ command: '/no/nbdkit' })).rejects.toMatchObject({ code: 'nbdkit_missing' });
    await expect(start({ plugin: '/no/plugin.so' })).rejects.toMatchObject({ code: 'vddk_plugin_missing' });
    for (const libdir of ['/no/vddk', folder.path, broken])
      await expect(start({ libdir })).rejects.toMatchObject({
        code: 'vddk_library_missing',
        message: expect.stringContaining(libdir),
      });
    expect(processesOwnedBy(wanted.owner)).toEqual([]);
    expect(readdirSync(folder.path)).toEqual(['broken']);
  });

  it('is found whole, or with the fix for each part that is missing', async () => {
    using folder = temporaryDirectory();
    expect(await checkNbdkit({ plugin, libdir })).toEqual([
      { name: 'nbdkit', ok: true, detail: expect.stringMatching(/^nbdkit \d/) },
      { name: 'vddk_plugin', ok: true, detail: expect.stringContaining(plugin) },
      { name: 'vddk_library', ok: true, detail: expect.stringContaining('VDDK 8') },
    ]);
    const failing = async (o: Parameters<typeof checkNbdkit>[0]) =>
      (await checkNbdkit(o)).filter((check) => !check.ok).map(({ name, detail }) => `${name}: ${detail}`);
    expect(await failing({ command: '/no/nbdkit' })).toEqual([
      expect.stringMatching(/^nbdkit: .*install the package nbdkit/),
      'vddk_plugin: not checked: nbdkit is missing',
      'vddk_library: not checked: the plugin is missing',
    ]);
    expect(await failing({ plugin: '/no/plugin.so', libdir })).toEqual([
      expect.stringMatching(/^vddk_plugin: .*SENDENSE_NBDKIT_VDDK_PLUGIN/),
      'vddk_library: not checked: the plugin is missing',
    ]);
    expect(await failing({ plugin, libdir: '/no/vddk' })).toEqual([
      expect.stringMatching(/^vddk_library: .*no folder \/no\/vddk\/lib64.*SENDENSE_VDDK_LIBDIR/),
    ]);
    mkdirSync(join(folder.path, 'lib64'));
    expect(await failing({ plugin, libdir: folder.path })).toEqual([
      expect.stringContaining('holds no libvixDiskLib.so'),
    ]);
    writeFileSync(join(folder.path, 'lib64', 'libvixDiskLib.so.8'), 'no library');
    expect(await failing({ plugin, libdir: folder.path })).toEqual([
      expect.stringContaining('which the plugin cannot load'),
    ]);
  });

  it('is looked for in the plugin’s own folder when none is set', async () => {
    using folder = temporaryDirectory();
    const command = join(folder.path, 'nbdkit');
    const default_ = (path: string) => {
      const say = `nbdkit "$@" | sed 's|^vddk_default_libdir=.*|vddk_default_libdir=${path}|'`;
      writeFileSync(command, `#!/bin/bash\nset -o pipefail\n${say}\n`, { mode: 0o755 });
    };
    default_(libdir);
    expect((await checkNbdkit({ command, plugin })).map(({ ok }) => ok)).toEqual([true, true, true]);
    await requireNbdkit({ command, plugin });
    default_('/no/vddk');
    expect((await checkNbdkit({ command, plugin })).map(({ ok }) => ok)).toEqual([true, true, false]);
    await expect(requireNbdkit({ command, plugin })).rejects.toMatchObject({
      code: 'vddk_library_missing',
      message: expect.stringContaining('/no/vddk/lib64'),
    });
  });

  it('is required by those who need it, with the part that is missing', async () => {
    await requireNbdkit({ plugin, libdir });
    for (const [o, code] of [
      [{ command: '/no/nbdkit', plugin, libdir }, 'nbdkit_missing'],
      [{ plugin: '/no/plugin.so', libdir }, 'vddk_plugin_missing'],
      [{ plugin, libdir: '/no/vddk' }, 'vddk_library_missing'],
    ] as const)
      await expect(requireNbdkit(o)).rejects.toMatchObject({ code });
  });
});
