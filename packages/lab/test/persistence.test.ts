import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { once } from 'node:events';
import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from '@jest/globals';
import { runCommand } from '@sendense/runtime';
import { eventually, requires, temporaryDirectory } from '@sendense/runtime/testing';
import { startLab, type Lab } from '../src/index.js';
import { compareImages } from './nbdkit.js';

const describeWith = requires(describe, 'openssl', 'qemu-img');
const MAIN = fileURLToPath(new URL('../src/main.js', import.meta.url));
const MiB = 1 << 20;

async function serve(
  directory: string,
): Promise<{ process: ChildProcessWithoutNullStreams; access: Record<string, unknown> }> {
  const server = spawn(process.execPath, [MAIN, 'serve', '--dir', directory, '--task-ms', '0']);
  const [line] = (await once(createInterface(server.stdout), 'line')) as [string];
  return { process: server, access: JSON.parse(line) as Record<string, unknown> };
}

async function command(directory: string, ...args: string[]): Promise<string> {
  const { stdout } = await runCommand(process.execPath, [MAIN, ...args, '--dir', directory], {
    code: 'process_failed',
    what: args.join(' '),
  });
  return stdout;
}

async function digest(lab: Lab, snapshot?: string): Promise<string> {
  const path = await lab.diskImage('pgtest1', 2000, snapshot === undefined ? {} : { snapshot });
  return createHash('sha256')
    .update(await readFile(path))
    .digest('hex');
}

describeWith('a lab that is started again', () => {
  it('goes on with its VMs, snapshots, changes, certificate and password', async () => {
    using folder = temporaryDirectory();
    const before = await (async () => {
      await using lab = await startLab({ directory: folder.path });
      await lab.createVm({
        name: 'pgtest1',
        disks: [{ sizeBytes: 8 * MiB }],
        changeTrackingEnabled: true,
        folder: 'a/b',
      });
      await lab.guestWrite('pgtest1', 2000, { offset: 0, random: '1', length: 3 * MiB });
      await lab.createSnapshot('pgtest1', { name: 'one' });
      await lab.guestWrite('pgtest1', 2000, { offset: 2 * MiB + 5, random: '2', length: MiB });
      return {
        vm: lab.vm('pgtest1'),
        snapshots: lab.snapshots('pgtest1'),
        thumbprints: lab.thumbprints,
        password: lab.password,
        now: await digest(lab),
        one: await digest(lab, 'one'),
      };
    })();
    await using lab = await startLab({ directory: folder.path });
    expect({
      vm: lab.vm('pgtest1'),
      snapshots: lab.snapshots('pgtest1'),
      thumbprints: lab.thumbprints,
      password: lab.password,
      now: await digest(lab),
      one: await digest(lab, 'one'),
    }).toEqual(before);
    await expect(startLab({ directory: folder.path })).rejects.toMatchObject({
      code: 'data_directory_in_use',
    });
  });

  it('clears away what a killed one left half made', async () => {
    using folder = temporaryDirectory();
    await (await startLab({ directory: folder.path }))[Symbol.asyncDispose]();
    await writeFile(`${folder.path}/layers/layer-000001.raw`, 'a layer that the state does not know');
    await using lab = await startLab({ directory: folder.path });
    await lab.createVm({ name: 'pgtest1', disks: [{ sizeBytes: MiB }] });
    expect((await readFile(await lab.diskImage('pgtest1', 2000))).equals(Buffer.alloc(MiB))).toBe(true);
  });

  it('loses nothing when it is killed, also in the middle of a merge, which it finishes when asked', async () => {
    using folder = temporaryDirectory();
    const directory = folder.path;
    const { process: server } = await serve(directory);
    await command(directory, 'vm', 'create', 'pgtest1', '--disk', '64M', '--tracking');
    await command(
      directory,
      'guest',
      'write',
      'pgtest1',
      '--disk',
      '2000',
      '--random',
      'a',
      '--length',
      '64M',
    );
    await command(directory, 'snapshot', 'create', 'pgtest1', 'one');
    await command(
      directory,
      'guest',
      'write',
      'pgtest1',
      '-k',
      '2000',
      '-o',
      '12345',
      '--random',
      'b',
      '--length',
      '50M',
    );
    const expected = `${directory}/expected.raw`;
    await runCommand(
      'cp',
      [(await command(directory, 'disk', 'path', 'pgtest1', '-k', '2000')).trim(), expected],
      {
        code: 'process_failed',
        what: 'cp',
      },
    );
    const removal = command(directory, 'snapshot', 'remove', 'pgtest1', 'one').catch(() => undefined);
    // The snapshot is out of the tree before the merge starts.
    await eventually('the merge has started', async () => {
      const state = await readFile(`${directory}/lab.json`, 'utf8');
      return (JSON.parse(state) as { vms: { snapshots: unknown[] }[] }).vms[0]!.snapshots.length === 0;
    });
    server.kill('SIGKILL');
    await Promise.all([once(server, 'exit'), removal]);

    await using lab = await startLab({ directory });
    await compareImages(await lab.diskImage('pgtest1', 2000), expected);
    await lab.consolidate('pgtest1');
    expect(lab.vm('pgtest1')).toMatchObject({ consolidationNeeded: false });
    expect(lab.vm('pgtest1').disks[0]!.fileName).toBe('[labds] pgtest1/pgtest1.vmdk');
    await compareImages(await lab.diskImage('pgtest1', 2000), expected);
  });
});

describeWith('sendense-lab', () => {
  it('prints how to reach it, obeys its commands, and ends cleanly', async () => {
    using folder = temporaryDirectory();
    const directory = folder.path;
    const { process: server, access } = await serve(directory);
    expect(access).toMatchObject({
      endpoint: expect.stringMatching(/^https:\/\/127\.0\.0\.1:\d+\/sdk$/),
      thumbprint_sha1: expect.stringMatching(/^([0-9A-F]{2}:){19}[0-9A-F]{2}$/),
      thumbprint_sha256: expect.stringMatching(/^([0-9A-F]{2}:){31}[0-9A-F]{2}$/),
      username: 'administrator@vsphere.local',
      password_file: `${directory}/password`,
      vddk_env: { LAB_VDDK_DIR: `${directory}/vddk` },
    });
    await command(
      directory,
      'vm',
      'create',
      'with space\n"quotes"',
      '--disk',
      '1G',
      '--disk',
      '5M,controller=scsi1,thick',
    );
    const [vm] = JSON.parse(await command(directory, 'vm', 'list', '--json')) as {
      disks: { key: number; thin: boolean }[];
    }[];
    expect(vm!.disks).toMatchObject([
      { key: 2000, thin: true },
      { key: 2016, thin: false },
    ]);
    // A name cannot forge a line of the table.
    expect((await command(directory, 'vm', 'list')).trimEnd().split('\n')).toHaveLength(2);
    await command(directory, 'fault', 'set', 'Login', '--drop', 'before', '--times', '2');
    expect(JSON.parse(await command(directory, 'fault', 'list', '--json'))).toMatchObject([
      { operation: 'Login', drop: 'before', times: 2, struck: 0 },
    ]);
    await expect(command(directory, 'vm', 'show', 'nobody')).rejects.toThrow('the lab has no VM nobody');
    await expect(command(directory, 'guest', 'write', 'nobody', '-k', '2000', '--zeros')).rejects.toThrow(
      'need --length',
    );
    server.kill('SIGTERM');
    expect(await once(server, 'exit')).toEqual([0, null]);
    await expect(command(directory, 'vm', 'list')).rejects.toThrow(`no lab runs in ${directory}`);
  });

  it('takes changeIds, disks and snapshots away from under a backup by commands', async () => {
    using folder = temporaryDirectory();
    const directory = folder.path;
    const { process: server } = await serve(directory);
    const run = (line: string) => command(directory, ...line.split(' '));
    interface Shown {
      readonly disks: { key: number; uuid: string; sizeBytes: number; changeId?: string }[];
    }
    const disks = async () => (JSON.parse(await run('vm show pgtest1 --json')) as Shown).disks;
    const parts = async () => (await disks()).map(({ changeId = '' }) => changeId.split('/'));
    await run('vm create pgtest1 --disk 1M --disk 1M --tracking');
    await run('snapshot create pgtest1 one');
    const first = await parts();
    await run('snapshot create pgtest1 two');
    await run('vm tracking pgtest1 reset --disk 2001');
    const reset = await parts();
    expect(reset[0]).toEqual([first[0]![0], '3']);
    expect(reset[1]![0]).not.toBe(first[1]![0]);
    await run('vm tracking pgtest1 forget');
    await run('snapshot revert pgtest1 one');
    expect(await parts()).toEqual(first);
    await expect(run('vm tracking pgtest1 off --disk 2001')).rejects.toThrow('for all disks');
    const before = await disks();
    await run('disk replace pgtest1 --disk 2001 --size 2M');
    const after = await disks();
    expect(after[0]).toEqual(before[0]);
    expect(after[1]).toMatchObject({ key: 2001, sizeBytes: 2 * MiB });
    expect(after[1]!.uuid).not.toBe(before[1]!.uuid);
    await run('fault set QueryChangedDiskAreas --lie empty_pages --disk 2000');
    for (const help of ['vm tracking --help', 'disk replace --help', 'fault set --help'])
      expect(await runHelp(help)).toContain('Example');
    server.kill('SIGTERM');
    expect(await once(server, 'exit')).toEqual([0, null]);
  });
});

async function runHelp(line: string): Promise<string> {
  const { stdout } = await runCommand(process.execPath, [MAIN, ...line.split(' ')], {
    code: 'process_failed',
    what: line,
  });
  return stdout;
}
