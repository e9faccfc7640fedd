// Hub and node as the programs that they are, for what only shows between processes.
import { execFile } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { startLab, type Lab, type LabVm, type VmSpec } from '@sendense/lab';
import { QemuImg } from '@sendense/qemu';
import { ChildProcess, OwnedStack, silentLogger } from '@sendense/runtime';
import { eventually, temporaryDirectory } from '@sendense/runtime/testing';
import { HubProcess, runHub, type HubProcessOptions } from '../../src/testing/hub-process.js';
import { labNodeConfig, type BackupBody } from '../constellation.js';
import { freePortRange } from './spine.js';

const NODE = new URL('../../../../node-agent/dist/src/main.js', import.meta.url).pathname;
const run = promisify(execFile);

type Settings = Readonly<Record<string, string>>;

export interface HttpAnswer<T> {
  readonly status: number;
  readonly body: T;
  readonly text: string;
}

/** A hub and a node, both logging everything, and a lab in this process. Everything of theirs is below one folder. */
export class TwoPrograms implements AsyncDisposable {
  /** Where the nodes dial. */
  tunnelPort: number;
  /** Everything that hub and node wrote, and what the API answered. */
  readonly written: string[] = [];
  token = '';
  #hub: HubProcess | undefined;
  #node: ChildProcess | undefined;
  #lab: Lab | undefined;
  #url = '';

  private constructor(
    readonly folder: string,
    readonly hubOptions: HubProcessOptions,
    private readonly nodeSettings: Settings,
    tunnelPort: number,
    private readonly owned: OwnedStack,
  ) {
    this.tunnelPort = tunnelPort;
  }

  /** @param more settings: `SENDENSE_…` */
  static async start(
    labPassword: string,
    more: { readonly hub?: Settings; readonly node?: Settings } = {},
  ): Promise<TwoPrograms> {
    await using owned = new OwnedStack(silentLogger, 90_000);
    const { path: folder } = owned.use('folder', temporaryDirectory('sdp'));
    const { first, last } = await freePortRange(9);
    const settings = {
      SENDENSE_TUNNEL_LISTEN: `127.0.0.1:${first}`,
      SENDENSE_NBD_PORTS: `${first + 1}-${last}`,
      SENDENSE_LOG_LEVEL: 'trace',
      ...more.hub,
    };
    const hubOptions = { folder: join(folder, 'hub'), settings };
    mkdirSync(hubOptions.folder);
    const programs = new TwoPrograms(folder, hubOptions, more.node ?? {}, first, owned.move());
    try {
      await programs.startLab(labPassword);
      const made = await runHub(['token', 'create', '--name', 't', '--role', 'admin'], hubOptions);
      programs.token = made.lines.find((line) => line.startsWith('sdt_')) ?? '';
      await programs.startHub();
      return programs;
    } catch (error) {
      await programs[Symbol.asyncDispose]();
      throw error;
    }
  }

  get lab(): Lab {
    if (!this.#lab) throw new Error('no lab');
    return this.#lab;
  }

  get hub(): HubProcess {
    if (!this.#hub) throw new Error('no hub');
    return this.#hub;
  }

  get node(): ChildProcess {
    if (!this.#node) throw new Error('no node');
    return this.#node;
  }

  /** @param settings instead of those that it was started with first */
  async startHub(settings: Settings = {}): Promise<void> {
    const options = { ...this.hubOptions, settings: { ...this.hubOptions.settings, ...settings } };
    await this.useHub(this.owned.use('hub', await HubProcess.spawn(['run'], options)), this.tunnelPort);
  }

  /** From now on this one is called, and nodes are enrolled there. */
  async useHub(hub: HubProcess, tunnelPort: number): Promise<void> {
    this.#hub = hub;
    this.#url = await hub.url();
    this.tunnelPort = tunnelPort;
  }

  /** The lab with this password from now on; its VMs stay. */
  async startLab(password: string): Promise<void> {
    const listen = this.#lab ? { listen: { host: this.#lab.host, port: this.#lab.port } } : {};
    await this.#lab?.[Symbol.asyncDispose]();
    const directory = join(this.folder, 'lab');
    this.#lab = await startLab({ directory, password, keepFrozenImages: true, ...listen });
  }

  /** The token goes by a file, and the file goes at once. */
  async enrolNode(token: string, ...more: readonly '--force'[]): Promise<void> {
    using folder = temporaryDirectory('token');
    const file = join(folder.path, 'token');
    writeFileSync(file, token, { mode: 0o600 });
    const hub = `127.0.0.1:${this.tunnelPort}`;
    const args = [NODE, 'enrol', '--hub', hub, '--token-file', file, ...more];
    const { stdout, stderr } = await run(process.execPath, args, { env: this.#nodeEnvironment() });
    this.written.push(stdout, stderr);
  }

  /** The node, enrolled and running; the lab as a vCenter; a repository. @returns the vCenter's id and the repository's */
  async addEverything(): Promise<{ readonly vcenterId: string; readonly repositoryId: string }> {
    type Ids = Record<string, string>;
    const { enrolment_token: token = '' } = await this.must<Ids>('nodes', { name: 'site-1' });
    await this.enrolNode(token);
    await this.startNode();
    const { endpoint, username, password, thumbprints } = this.lab;
    const { vcenter_id: vcenterId = '' } = await this.must<Ids>('vcenters', {
      ...{ name: 'lab', node_name: 'site-1', endpoint, username, password },
      thumbprint: thumbprints.sha256,
    });
    mkdirSync(this.repositoryPath);
    const repository = { name: 'main', type: 'local', path: this.repositoryPath };
    const { repository_id: repositoryId = '' } = await this.must<Ids>('repositories', repository);
    return { vcenterId, repositoryId };
  }

  get repositoryPath(): string {
    return join(this.folder, 'repository');
  }

  /** A VM with random data on each disk, under protection. */
  async addVm(vcenterId: string, spec: VmSpec): Promise<LabVm> {
    const vm = await this.lab.createVm(spec);
    for (const { key, sizeBytes } of vm.disks)
      await this.lab.guestWrite(vm.moref, key, { offset: 0, random: spec.name, length: sizeBytes / 2 });
    await this.must('vms', { vcenter_id: vcenterId, moref: vm.moref });
    return vm;
  }

  async startNode(): Promise<void> {
    this.#node = await ChildProcess.spawn(process.execPath, [NODE, 'run'], {
      ...{ name: 'sendense-node', owner: `test-${process.pid}`, log: silentLogger },
      ...{ extendEnv: false, env: this.#nodeEnvironment() },
      filterLine: (line) => {
        this.written.push(line);
        return line;
      },
    });
    await this.nodeOnline();
  }

  /** A node whose hub was away dials it again sooner or later. */
  async nodeOnline(): Promise<void> {
    const isOnline = async () => (await this.must<{ state: string }>('nodes/site-1')).state === 'online';
    await eventually('the node is online', isOnline, 60_000);
  }

  async killNode(): Promise<void> {
    if (this.#node) process.kill(this.#node.pid, 'SIGKILL');
    await this.#node?.exited;
  }

  async call<T>(method: string, path: string, body?: unknown): Promise<HttpAnswer<T>> {
    const answer = await fetch(this.#url + path, {
      method,
      headers: { authorization: `Bearer ${this.token}`, 'content-type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await answer.text();
    const isJson = answer.headers.get('content-type')?.includes('json');
    return { status: answer.status, text, body: (isJson ? JSON.parse(text) : undefined) as T };
  }

  /** What the API answers to a GET, or to a POST when there is a body. @throws what it refuses */
  async must<T>(path: string, body?: unknown): Promise<T> {
    const method = body === undefined ? 'GET' : 'POST';
    const answer = await this.call<T>(method, `/api/v1/${path}`, body);
    if (answer.status >= 300) throw new Error(`${method} ${path}: ${answer.text}`);
    return answer.body;
  }

  /** Whether each image is what the backup's snapshot froze. */
  async compare({ moref }: LabVm, { disk_results, snapshot }: BackupBody): Promise<boolean[]> {
    const same: boolean[] = [];
    for (const { disk_key: key, qcow2_path: image } of disk_results) {
      const frozen = await this.lab.diskImage(moref, key, { snapshot: snapshot?.moref ?? '' });
      const formats = { formatA: 'qcow2', formatB: 'raw' } as const;
      same.push((await new QemuImg({}).compare(image, frozen, formats)).identical);
    }
    return same;
  }

  async ended(backupId: string): Promise<BackupBody> {
    return eventually(
      `${backupId} has ended`,
      async () => {
        const { body } = await this.call<BackupBody>('GET', `/api/v1/backups/${backupId}`);
        return ['completed', 'failed', 'cancelled'].includes(body.state) ? body : undefined;
      },
      60_000,
    );
  }

  /** Ends both programs in order; then everything that they wrote is there. */
  async stop(): Promise<void> {
    await this.#node?.terminate();
    await this.#hub?.[Symbol.asyncDispose]();
    this.written.push(this.#hub?.text ?? '');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#node?.terminate();
    await this.#hub?.[Symbol.asyncDispose]();
    await this.#lab?.[Symbol.asyncDispose]();
    await this.owned[Symbol.asyncDispose]();
  }

  #nodeEnvironment(): Record<string, string> {
    const { dataDirectory, runtimeDirectory, nbdkitVddkPlugin } = labNodeConfig(this.folder, this.lab);
    return {
      PATH: process.env['PATH'] ?? '',
      SENDENSE_DATA_DIR: dataDirectory,
      SENDENSE_RUNTIME_DIR: runtimeDirectory,
      SENDENSE_LOG_LEVEL: 'trace',
      SENDENSE_LANES: '2',
      SENDENSE_NBDKIT_VDDK_PLUGIN: nbdkitVddkPlugin,
      SENDENSE_VDDK_LIBDIR: this.lab.vddkLibdir,
      ...this.lab.vddkEnvironment,
      ...this.nodeSettings,
    };
  }
}
