import { mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { startLab, type Lab } from '@sendense/lab';
import { createNode, enrolNode } from '@sendense/node-agent';
import { QemuImg } from '@sendense/qemu';
import { OwnedStack, processesOwnedBy, silentLogger } from '@sendense/runtime';
import { eventually, requires, temporaryDirectory } from '@sendense/runtime/testing';
import { ownerMark } from '../src/config.js';
import { HubProcess, runHub, type HubProcessOptions } from '../src/testing/hub-process.js';
import { CONSTELLATION_TOOLS, labNodeConfig, type BackupBody } from './constellation.js';
import { freePortRange } from './stage/spine.js';

const MIB = 2 ** 20;

/** A hub as a process of its own, to be killed; lab and node live on. */
class KillableHub {
  #hub: HubProcess | undefined;
  #url = '';
  #token = '';

  constructor(
    private readonly options: HubProcessOptions,
    private readonly owned: OwnedStack,
  ) {}

  async start(): Promise<void> {
    if (this.#token === '') {
      const { lines } = await runHub(['token', 'create', '--name', 't', '--role', 'admin'], this.options);
      this.#token = lines.find((line) => /^\S{20,}$/.test(line)) ?? '';
    }
    this.#hub = this.owned.use('hub', await HubProcess.spawn(['run'], this.options));
    this.#url = await this.#hub.url();
  }

  async kill(): Promise<void> {
    this.#hub?.kill('SIGKILL');
    await this.#hub?.exited;
  }

  async call<T>(path: string, body?: unknown): Promise<T> {
    const answer = await fetch(`${this.#url}/api/v1/${path}`, {
      method: body === undefined ? 'GET' : 'POST',
      headers: { authorization: `Bearer ${this.#token}`, 'content-type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    if (!answer.ok) throw new Error(`${path}: ${await answer.text()}`);
    return (await answer.json()) as T;
  }
}

requires(describe, ...CONSTELLATION_TOOLS)('a chain whose hub is killed with SIGKILL', () => {
  let owned: OwnedStack;
  let folder: string;
  let lab: Lab;
  let hub: KillableHub;
  let repositoryId: string;
  let moref: string;

  beforeAll(async () => {
    owned = new OwnedStack(silentLogger, 90_000);
    const { path } = owned.use('folder', temporaryDirectory('sdc'));
    folder = path;
    lab = owned.use('lab', await startLab({ directory: join(path, 'lab'), keepFrozenImages: true }));
    const { first, last } = await freePortRange(9);
    const settings = {
      SENDENSE_TUNNEL_LISTEN: `127.0.0.1:${first}`,
      SENDENSE_NBD_PORTS: `${first + 1}-${last}`,
      SENDENSE_CBT_AUDIT_BLOCKS: '4096',
    };
    hub = new KillableHub({ folder: path, settings }, owned);
    await hub.start();
    const { enrolment_token: token } = await hub.call<Record<string, string>>('nodes', { name: 'site-1' });
    const config = labNodeConfig(join(path, 'n'), lab);
    const address = { host: '127.0.0.1', port: first };
    await enrolNode({ dataDirectory: config.dataDirectory, hub: address, token: token! });
    owned.use('node', await createNode(config, silentLogger));
    await online();
    const { endpoint, username, password, thumbprints } = lab;
    const { vcenter_id } = await hub.call<Record<string, string>>('vcenters', {
      ...{ name: 'lab', node_name: 'site-1', endpoint, username, password },
      thumbprint: thumbprints.sha256,
    });
    mkdirSync(join(path, 'repository'));
    const repository = { name: 'main', type: 'local', path: join(path, 'repository') };
    repositoryId = (await hub.call<Record<string, string>>('repositories', repository))['repository_id']!;
    ({ moref } = await lab.createVm({ name: 'pgtest1', disks: [{ sizeBytes: 8 * MIB }] }));
    await write(0, 'before', 4 * MIB);
    await hub.call('vms', { vcenter_id, vm_name: 'pgtest1' });
  });

  afterAll(async () => {
    await owned[Symbol.asyncDispose]();
  });

  afterEach(nothingIsLeft);

  interface SystemBody {
    readonly ports: { readonly leased: readonly unknown[] };
    readonly processes: readonly unknown[];
    readonly running: readonly unknown[];
    readonly cleanups: readonly unknown[];
  }

  /** Neither of a backup that has ended nor of a hub that is dead, here or on the node. */
  async function nothingIsLeft(): Promise<void> {
    await eventually('nothing is left', async () => {
      const { ports, processes, running, cleanups } = await hub.call<SystemBody>('system');
      const left = {
        ...{ leases: ports.leased, processes, running, cleanups },
        qemuNbd: processesOwnedBy(ownerMark(join(folder, 'data'))).filter(
          ({ command }) => command === 'qemu-nbd',
        ),
        nodeProcesses: processesOwnedBy(`node:${join(folder, 'n', 'node')}`),
        halfWritten: files().filter((file) => file.endsWith('.partial')),
        snapshots: lab.snapshots(moref),
      };
      const nothing = { leases: [], processes: [], running: [], cleanups: [] };
      expect(left).toEqual({ ...nothing, qemuNbd: [], nodeProcesses: [], halfWritten: [], snapshots: [] });
      return true;
    });
  }

  const files = () => readdirSync(join(folder, 'repository'), { recursive: true, encoding: 'utf8' });

  const write = (offset: number, random: string, length = 65_536) =>
    lab.guestWrite('pgtest1', 2000, { offset, random, length });

  const online = () =>
    eventually('the node is online', async () => {
      const { state } = await hub.call<Record<string, string>>('nodes/site-1');
      return state === 'online';
    });

  async function start(type: 'full' | 'incremental'): Promise<string> {
    const request = { vm_name: 'pgtest1', repository_id: repositoryId, backup_type: type };
    return (await hub.call<BackupBody>('backups', request)).backup_id;
  }

  async function ended(id: string): Promise<BackupBody> {
    return eventually('it has ended', async () => {
      const body = await hub.call<BackupBody>(`backups/${id}`);
      return ['completed', 'failed', 'cancelled'].includes(body.state) ? body : undefined;
    });
  }

  /** An incremental that is one, and identical. */
  async function works(): Promise<void> {
    const backup = await ended(await start('incremental'));
    expect(backup).toMatchObject({
      state: 'completed',
      disk_results: [{ backup_type: 'incremental', reason: 'changed_blocks' }],
    });
    const frozen = await lab.diskImage(moref, 2000, { snapshot: backup.snapshot!.moref });
    const formats = { formatA: 'qcow2', formatB: 'raw' } as const;
    const image = backup.disk_results[0]!.qcow2_path;
    expect(await new QemuImg({}).compare(image, frozen, formats)).toMatchObject({ identical: true });
  }

  it('between two incrementals goes on', async () => {
    expect(await ended(await start('full'))).toMatchObject({ state: 'completed' });
    await write(MIB, 'one');
    await works();
    await hub.kill();
    await write(2 * MIB, 'two');
    await hub.start();
    await online();
    await works();
  }, 120_000);

  it('in the middle of one loses that one, and goes on from the last that was sealed', async () => {
    await write(3 * MIB, 'three');
    lab.setFault({ operation: 'vddk.read', delayMs: 5_000 });
    const id = await start('incremental');
    await eventually('it reads', async () => {
      const [disk] = (await hub.call<BackupBody>(`backups/${id}`)).disk_results;
      return disk?.status === 'copying';
    });
    // What is to be cleaned up was there.
    expect(files().some((file) => file.endsWith('.qcow2.partial'))).toBe(true);
    expect(processesOwnedBy(`node:${join(folder, 'n', 'node')}`)).not.toEqual([]);
    await hub.kill();
    lab.clearFaults();
    await write(5 * MIB, 'four');
    await hub.start();
    await online();
    expect(await ended(id)).toMatchObject({
      state: 'failed',
      error: {
        code: 'hub_restarted',
        message: expect.stringMatching(
          /hub ended while the backup was running.*removed: start the backup again/,
        ),
      },
    });
    await nothingIsLeft();
    await works();
  }, 120_000);
});
