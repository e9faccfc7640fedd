import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import type { LabVm } from '@sendense/lab';
import type { NodeConfig } from '@sendense/node-agent';
import { eventually, requires } from '@sendense/runtime/testing';
import { Constellation, CONSTELLATION_TOOLS, NOTHING_LEFT, type BackupBody } from './constellation.js';

const MIB = 2 ** 20;

/** The disk would take some ten seconds. */
const SLOW = { SENDENSE_RATE_LIMIT: String(4 * MIB) };

requires(describe, ...CONSTELLATION_TOOLS)("the whole path, when the node's machine fails", () => {
  let all: Constellation;
  let vm: LabVm;

  beforeAll(async () => {
    all = await Constellation.start({ settings: SLOW });
    vm = await all.addVm({ name: 'pgtest1', disks: [{ sizeBytes: 48 * MIB }] }, 40 * MIB);
  });

  afterAll(async () => {
    await all[Symbol.asyncDispose]();
  });

  afterEach(async () => {
    await eventually('nothing is left', () => {
      expect(all.leftovers()).toEqual(NOTHING_LEFT);
      return true;
    });
    const { created, removed } = all.snapshotsSince(vm);
    expect(removed).toBe(created);
  });

  /** By the name that the kernel shows of it. */
  function kill(command: RegExp): void {
    const found = all.nodeProcesses().filter((process) => command.test(process.command));
    expect(found).toHaveLength(1);
    process.kill(found[0]!.pid, 'SIGKILL');
  }

  it('fails when nbdkit is killed, with its disk, its end and where to look', async () => {
    const { backup_id: id } = await all.flowing('pgtest1');
    // VDDK's plugin starts nbdkit anew, through /proc/self/exe.
    kill(/^(nbdkit|exe)$/);
    expect(await all.end(id)).toMatchObject({
      state: 'failed',
      error: {
        code: 'nbdkit_died',
        message: expect.stringMatching(/^nbdkit of \[labds\] .*pgtest1\.vmdk .*signal SIGKILL.*journalctl/),
      },
      warnings: [],
    });
  });

  it('fails when the backup client is killed, with its job, its end and where to look', async () => {
    const { backup_id: id } = await all.flowing('pgtest1');
    kill(/^(node|MainThread)$/);
    expect(await all.end(id)).toMatchObject({
      state: 'failed',
      error: {
        code: 'process_failed',
        message: expect.stringMatching(
          new RegExp(`the backup client of job ${id} on node site-1 .*signal SIGKILL.*journalctl`),
        ),
      },
      warnings: [],
      snapshot: { removed_at: expect.any(String) },
    });
  });

  interface Lack {
    readonly what: string;
    readonly change: (config: NodeConfig) => Partial<NodeConfig>;
    readonly code: string;
    readonly message: RegExp;
    readonly check: string;
  }

  const lacks: Lack[] = [
    {
      what: 'no nbdkit',
      change: () => ({ nbdkit: '/nowhere/nbdkit' }),
      code: 'nbdkit_missing',
      message:
        /^\/nowhere\/nbdkit cannot be started.*checking nbdkit.*install the package nbdkit.*SENDENSE_NBDKIT/,
      check: 'nbdkit',
    },
    {
      what: 'no VDDK plugin',
      change: () => ({ nbdkitVddkPlugin: '/nowhere/vddk.so' }),
      code: 'vddk_plugin_missing',
      message: /'\/nowhere\/vddk\.so'.*install nbdkit-plugin-vddk.*SENDENSE_NBDKIT_VDDK_PLUGIN/,
      check: 'vddk_plugin',
    },
    {
      what: 'no VDDK',
      change: () => ({ vddkLibdir: '/nowhere/vddk' }),
      code: 'vddk_library_missing',
      message: /there is no folder \/nowhere\/vddk\/lib64. Download VDDK.*SENDENSE_VDDK_LIBDIR/,
      check: 'vddk_library',
    },
    {
      what: 'a folder of VDDK that holds something else',
      change: ({ dataDirectory }) => ({ vddkLibdir: dataDirectory }),
      code: 'vddk_library_missing',
      message: /there is no folder \/.*\/node\/lib64. Download VDDK.*SENDENSE_VDDK_LIBDIR/,
      check: 'vddk_library',
    },
  ];
  it.each(lacks)('fails when the node has $what, and the node itself says so too', async (lack) => {
    await all.stopNode();
    await all.startNode({ ...all.nodeConfig, ...lack.change(all.nodeConfig) });
    expect(await all.backUp('pgtest1')).toMatchObject({
      state: 'failed',
      error: { code: lack.code, message: expect.stringMatching(lack.message) },
      snapshot: null,
    });
    const { body } = await all.hub.get(`/api/v1/nodes/${Constellation.nodeName}`);
    const setting = /SENDENSE_\w+/.exec(lack.message.source)![0];
    const row = { name: lack.check, ok: false, detail: expect.stringContaining(setting) };
    expect(body['checks']).toContainEqual(row);
  });

  it('works again once all of it is there', async () => {
    await all.stopNode();
    await all.startNode();
    const { backup_id: id }: BackupBody = await all.flowing('pgtest1');
    await all.hub.post(`/api/v1/backups/${id}/cancel`, {});
    expect(await all.end(id)).toMatchObject({ state: 'cancelled', warnings: [] });
  });
});
