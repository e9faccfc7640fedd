import { chmodSync, mkdirSync, mkdtempSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { silentLogger, type Logger } from '@sendense/runtime';
import { readConfig, type HubConfig } from '../config.js';
import { createHub, type Hub, type HubParts } from '../hub.js';
import { FakeRuns } from './fake-runs.js';

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Record<string, unknown>;
  readonly text: string;
}

export interface CallOptions {
  readonly body?: unknown;
  /** Sent as it is. */
  readonly rawBody?: string;
  /** @default the admin's */
  readonly token?: string | undefined;
  readonly headers?: Record<string, string>;
}

/** A real hub in this process on free ports and a data directory of its own; its runs may be of the test. */
export class TestHub implements AsyncDisposable {
  readonly tokens: Record<'admin' | 'operator' | 'viewer', string> = { admin: '', operator: '', viewer: '' };

  private constructor(
    readonly folder: string,
    readonly config: HubConfig,
    readonly hub: Hub,
    readonly runs: FakeRuns,
  ) {}

  static async start(
    options: {
      readonly settings?: Record<string, string>;
      readonly log?: Logger;
      readonly parts?: HubParts;
    } = {},
  ): Promise<TestHub> {
    // Short, because a socket below it must fit into 107 bytes.
    const folder = realpathSync(mkdtempSync(join(tmpdir(), 'sdh-')));
    const config = testConfig(folder, options.settings);
    const runs = new FakeRuns();
    try {
      const hub = await createHub(config, options.log ?? silentLogger, {
        createRuns: (dependencies) => runs.attach(dependencies),
        ...options.parts,
      });
      const test = new TestHub(folder, config, hub, runs);
      for (const role of ['admin', 'operator', 'viewer'] as const)
        test.tokens[role] = (await hub.context.catalog.tokens.create({ name: `the ${role}`, role })).token;
      return test;
    } catch (error) {
      rmSync(folder, { recursive: true, force: true });
      throw error;
    }
  }

  get url(): string {
    const { host, port } = this.hub.apiAddress;
    return `http://${host}:${port}`;
  }

  fetch(method: string, path: string, options: CallOptions = {}, signal?: AbortSignal): Promise<Response> {
    const token = 'token' in options ? options.token : this.tokens.admin;
    const body = options.rawBody ?? (options.body === undefined ? undefined : JSON.stringify(options.body));
    return fetch(new URL(path, this.url), {
      method,
      headers: {
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...options.headers,
      },
      ...(body === undefined ? {} : { body }),
      ...(signal ? { signal } : {}),
    });
  }

  async call(method: string, path: string, options: CallOptions = {}): Promise<Answer> {
    const response = await this.fetch(method, path, options);
    const text = await response.text();
    const json = response.headers.get('content-type')?.includes('json') ? JSON.parse(text) : {};
    return { status: response.status, headers: response.headers, body: json as Answer['body'], text };
  }

  get = (path: string, options?: CallOptions) => this.call('GET', path, options);
  post = (path: string, body?: unknown, options?: CallOptions) =>
    this.call('POST', path, { body, ...options });
  delete = (path: string, options?: CallOptions) => this.call('DELETE', path, options);

  /** A new directory, and the repository in it. */
  async addRepository(name = 'main'): Promise<{ id: string; path: string }> {
    const path = mkdtempSync(join(this.folder, 'repository-'));
    const { body } = await this.post('/api/v1/repositories', { name, type: 'local', path });
    return { id: String(body['repository_id']), path };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.hub[Symbol.asyncDispose]();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

export function testConfig(folder: string, settings: Record<string, string> = {}): HubConfig {
  chmodSync(folder, 0o755);
  mkdirSync(join(folder, 'data'), { recursive: true, mode: 0o700 });
  return readConfig(testSettings(folder, settings));
}

export function testSettings(folder: string, settings: Record<string, string> = {}): Record<string, string> {
  return {
    SENDENSE_API_LISTEN: '127.0.0.1:0',
    SENDENSE_TUNNEL_LISTEN: '127.0.0.1:0',
    SENDENSE_TUNNEL_WORKERS: '1',
    SENDENSE_DATA_DIR: join(folder, 'data'),
    SENDENSE_RUNTIME_DIR: join(folder, 'run'),
    SENDENSE_LOG_LEVEL: 'silent',
    ...settings,
  };
}
