import { fileURLToPath } from 'node:url';
import { describe, expect, it } from '@jest/globals';
import { runCommand } from '@sendense/runtime';
import { requires, temporaryDirectory } from '@sendense/runtime/testing';
import { ControlServer } from '../src/control/control-server.js';
import { startLab } from '../src/index.js';

const SCRIPT = fileURLToPath(new URL('../../test/pyvmomi_client.py', import.meta.url));
const MAIN = fileURLToPath(new URL('../src/main.js', import.meta.url));
const describeWith = requires(
  describe,
  '/usr/bin/python3',
  '/usr/lib/python3/dist-packages/pyVmomi/__init__.py',
);
const MiB = 1 << 20;

describeWith("VMware's pyvmomi as an independent client", () => {
  it('logs in, walks the inventory, enables change tracking, takes and removes snapshots, asks for changes', async () => {
    using folder = temporaryDirectory();
    await using lab = await startLab({ directory: folder.path });
    await using _control = await ControlServer.start(lab);
    await lab.createVm({
      name: 'pgtest1',
      disks: [
        { sizeBytes: 1024 * MiB },
        { sizeBytes: 5 * MiB, controller: 'scsi1' },
        { sizeBytes: MiB, mode: 'independent_persistent' },
        { sizeBytes: MiB, controller: 'nvme0', backing: 'physical_rdm' },
        { sizeBytes: MiB, controller: 'sata0' },
      ],
    });
    await lab.createVm({ name: 'odd/name "&" <more>\n🚀', folder: 'a/b' });
    // More areas than one answer holds.
    const scattered = Array.from({ length: 2100 }, (_, index) => ({
      offset: index * 2 * 65_536,
      data: Buffer.from('x'),
    }));
    await lab.guestWrite('pgtest1', 2000, scattered);
    const guestWrite = [
      process.execPath,
      MAIN,
      'guest',
      'write',
      'pgtest1',
      '--dir',
      folder.path,
      '--disk',
      '2000',
    ];
    const { stdout } = await runCommand(
      '/usr/bin/python3',
      [SCRIPT, lab.host, String(lab.port), lab.username, lab.passwordFile, 'pgtest1'].concat(guestWrite, [
        '--offset',
        '300000',
        '--random',
        'later',
        '--length',
        '70000',
      ]),
      { code: 'process_failed', what: 'the pyvmomi client' },
    );
    const seen = JSON.parse(stdout) as Record<string, never>;
    expect(seen).toMatchObject({
      wrong_password: 'InvalidLogin',
      about: ['VirtualCenter', expect.stringContaining('VMware vCenter Server')],
      session: 'ADMINISTRATOR@VSPHERE.LOCAL',
      names: ['odd%2fname "&" <more>\n🚀', 'pgtest1'],
      walked: ['odd%2fname "&" <more>\n🚀', 'pgtest1'],
      pages: [1, 1],
      unknown_property: 'InvalidProperty',
      found_by_path: true,
      found_by_uuid: true,
      vm: {
        power: 'poweredOn',
        host: 'esxi-1.lab',
        datastores: ['labds'],
        tools: 'guestToolsRunning',
        version: 'vmx-19',
        tracking_supported: true,
        tracking_enabled: false,
        snapshot: null,
        virtual_disks: 5,
        consolidation_needed: false,
      },
      tracking_enabled: true,
      change_ids_before_stun: [null, null, null, null, null],
      file_after_removal: '[labds] pgtest1/pgtest1.vmdk',
      tree: [['first', 'of the test', true, true]],
      current: true,
      changed_in_first: { areas: [], pages: 1 },
      concurrent: 'TaskInProgress',
      changed: { areas: [[262_144, 131_072]], pages: 1 },
      faults: {
        foreign: 'FileFault',
        malformed: 'InvalidArgument',
        no_such_disk: 'InvalidArgument',
        beyond_end: 'InvalidArgument',
      },
      removed_snapshot: 'ManagedObjectNotFound',
      snapshot_after_all: null,
      power_fault: 'InvalidPowerState',
      stale_session: 'NotAuthenticated',
      after_login: 'pgtest1',
    });
    const { disks, snapshot_files, vm_files, files_after_all, allocated } = seen as unknown as {
      disks: { key: number; uuid: string; file: string }[];
      snapshot_files: string[];
      vm_files: string[];
      files_after_all: string[];
      allocated: { areas: [number, number][]; pages: number };
    };
    expect(disks.map(({ key }) => key)).toEqual([2000, 2001, 2016, 16_000, 32_000]);
    expect(disks.map(({ uuid }) => uuid)).toEqual(lab.vm('pgtest1').disks.map(({ uuid }) => uuid));
    // The snapshot names the base files; the VM writes deltas where the snapshot holds a disk.
    expect(snapshot_files).toEqual(disks.map(({ file }) => file));
    expect(vm_files.map((file) => file.endsWith('-000001.vmdk'))).toEqual([true, false, true, true, false]);
    expect(files_after_all).toEqual(disks.map(({ file }) => file));
    expect(allocated.pages).toBe(2);
    expect(allocated.areas).toEqual(scattered.map(({ offset }) => [offset, 65_536]));
    expect(lab.snapshotHistory('pgtest1')).toEqual({ created: 3, removed: 3 });
  });
});
