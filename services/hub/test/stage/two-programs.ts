// Hub and node as the programs that they are, for what only shows between processes.
import { execFile } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { startLab, type Lab } from '@sendense/lab';
import { ChildProcess, OwnedStack, silentLogger } from '@sendense/runtime';
import { eventually, temporaryDirectory } from '@sendense/runtime/testing';
import { HubProcess, runHub, type HubProcessOptions } from '../../src/testing/hub-process.js';
import { labNodeConfig, type BackupBody } from '../constellation.js';
import { freePortRange } from './spine.js';

const NODE = new URL('../../../../node-agent/dist/src/main.js', import.meta.url).pathname;
const run = promisify(execFile);

export interface HttpAnswer<T> {
  readonly status: number;
  readonly body: T;
  readonly text: string;
}

/** A hub and a node, both logging everything, and a lab in this process. Everything of theirs is below one folder. */
export class TwoPrograms implements AsyncDisposable {
  /** Everything that hub and node wrote, and what the API answered. */
  readonly written: string[] = [];
  token = '';
  #hub: HubProcess | undefined;
  #node: ChildProcess | undefined;
  #lab: Lab | undefined;
  #url = '';

  private constructor(
    readonly folder: string,
    private readonly hubOptions: HubProcessOptions,
    readonly tunnelPort: number,
    private readonly owned: OwnedStack,
  ) {}

  static async start(labPassword: string): Promise<TwoPrograms> {
    await using owned = new OwnedStack(silentLogger, 90_000);
    const { path: folder } = owned.use('folder', temporaryDirectory('sdp'));
    const { first, last } = await freePortRange(9);
    const settings = {
      SENDENSE_TUNNEL_LISTEN: `127.0.0.1:${first}`,
      SENDENSE_NBD_PORTS: `${first + 1}-${last}`,
      SENDENSE_LOG_LEVEL: 'trace',
    };
    const hubOptions = { folder: join(folder, 'hub'), settings };
    mkdirSync(hubOptions.folder);
    const programs = new TwoPrograms(folder, hubOptions, first, owned.move());
    try {
      await programs.startLab(labPassword);
      const made = await runHub(['token', 'create', '--name', 't', '--role', 'admin'], hubOptions);
      programs.token = made.lines.find((line) => line.startsWith('sdt_')) ?? '';
      programs.#hub = programs.owned.use('hub', await HubProcess.spawn(['run'], hubOptions));
      programs.#url = await programs.#hub.url();
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

  /** The lab with this password from now on; its VMs stay. */
  async startLab(password: string): Promise<void> {
    const listen = this.#lab ? { listen: { host: this.#lab.host, port: this.#lab.port } } : {};
    await this.#lab?.[Symbol.asyncDispose]();
    const directory = join(this.folder, 'lab');
    this.#lab = await startLab({ directory, password, keepFrozenImages: true, ...listen });
  }

  /** The token goes by a file, and the file goes at once. */
  async enrolNode(token: string): Promise<void> {
    using folder = temporaryDirectory('token');
    const file = join(folder.path, 'token');
    writeFileSync(file, token, { mode: 0o600 });
    const hub = `127.0.0.1:${this.tunnelPort}`;
    const args = [NODE, 'enrol', '--hub', hub, '--token-file', file];
    const { stdout, stderr } = await run(process.execPath, args, { env: this.#nodeEnvironment() });
    this.written.push(stdout, stderr);
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
    await eventually('the node is online', async () => {
      const { body } = await this.call<{ state: string }>('GET', '/api/v1/nodes/site-1');
      return body.state === 'online';
    });
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
    };
  }
}
