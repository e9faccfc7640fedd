import { chmodSync, existsSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { processesOwnedBy, silentLogger } from '@sendense/runtime';
import { eventually } from '@sendense/runtime/testing';
import { ownerMark } from './config.js';
import { HOST_KEY_FILE } from './host-key.js';
import { createHub } from './hub.js';
import { FakeRuns } from './testing/fake-runs.js';
import { TestHub, testConfig } from './testing/test-hub.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'sdh-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const start = (settings: Record<string, string> = {}, runs = new FakeRuns()) =>
  createHub(testConfig(folder, settings), silentLogger, {
    createRuns: (dependencies) => runs.attach(dependencies),
  });
const nothingLeft = () =>
  eventually('no process is left', () => processesOwnedBy(ownerMark(join(folder, 'data'))).length === 0);

async function listener(): Promise<{ port: number } & AsyncDisposable> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    [Symbol.asyncDispose]: () => new Promise<void>((resolve) => server.close(() => resolve())),
  };
}

describe('a hub', () => {
  it('keeps its host key, and starts again on what it left', async () => {
    const first = await start();
    const { hostKeyFingerprint } = first.context.tunnel;
    const key = join(folder, 'data', HOST_KEY_FILE);
    expect(statSync(key).mode & 0o777).toBe(0o600);
    await first[Symbol.asyncDispose]();
    await nothingLeft();
    await using second = await start();
    expect(second.context.tunnel.hostKeyFingerprint).toBe(hostKeyFingerprint);
  });

  it('refuses a host key that others can read, saying what to do', async () => {
    await (await start())[Symbol.asyncDispose]();
    const key = join(folder, 'data', HOST_KEY_FILE);
    chmodSync(key, 0o640);
    await expect(start()).rejects.toMatchObject({
      code: 'permission_denied',
      message: expect.stringMatching(/mode 0640.*chmod 600/),
    });
    chmodSync(key, 0o600);
    await (await start())[Symbol.asyncDispose]();
  });

  it('refuses a data directory that is in use, and a port that is taken, naming the process', async () => {
    await using taken = await listener();
    for (const name of ['SENDENSE_API_LISTEN', 'SENDENSE_TUNNEL_LISTEN'])
      await expect(start({ [name]: `127.0.0.1:${taken.port}` })).rejects.toMatchObject({
        code: 'port_in_use',
        message: expect.stringMatching(
          new RegExp(`port ${taken.port} is taken: process ${process.pid} .*Stop it, or set ${name}`),
        ),
      });
    // Nothing of the refused starts is left: neither the lock nor a process.
    await nothingLeft();
    await using first = await start();
    await expect(start()).rejects.toMatchObject({
      code: 'data_directory_in_use',
      message: expect.stringMatching(
        new RegExp(
          `data is in use by .*process ${process.pid} .*: stop it first, or use another data directory`,
        ),
      ),
    });
    expect(first.apiAddress.port).toBeGreaterThan(0);
  });

  it('stops its runs while the tunnel still works, and after the API', async () => {
    const runs = new FakeRuns();
    const hub = await start({}, runs);
    const { tunnel, stopping } = hub.context;
    const { port } = hub.apiAddress;
    const seen: unknown[] = [];
    runs[Symbol.asyncDispose] = async () => {
      seen.push(stopping.aborted, existsSync(join(folder, 'run', 'nodes')), tunnel.statistics().workers);
      seen.push(await fetch(`http://127.0.0.1:${port}/health`).catch(() => 'closed'));
    };
    await hub[Symbol.asyncDispose]();
    expect(seen).toEqual([true, true, 1, 'closed']);
  });
});

describe('the API', () => {
  it('stays on the loopback until a token exists, and then goes where it was told to', async () => {
    await using hub = await start({ SENDENSE_API_LISTEN: '0.0.0.0:0' });
    const { host, port } = hub.apiAddress;
    expect(host).toBe('127.0.0.1');
    expect((await fetch(`http://127.0.0.1:${port}/health`)).status).toBe(200);
    const { token } = await hub.context.catalog.tokens.create({ name: 'first', role: 'admin' });
    await eventually('it listens everywhere', () => hub.apiAddress.host === '0.0.0.0');
    expect(hub.apiAddress.port).toBe(port);
    const headers = { authorization: `Bearer ${token}` };
    expect((await fetch(`http://127.0.0.2:${port}/api/v1/nodes`, { headers })).status).toBe(200);
    await hub[Symbol.asyncDispose]();
    await using again = await start({ SENDENSE_API_LISTEN: '0.0.0.0:0' });
    expect(again.apiAddress.host).toBe('0.0.0.0');
  });

  it('answers what is no HTTP with a problem', async () => {
    await using hub = await TestHub.start();
    const { port } = hub.hub.apiAddress;
    const { connect } = await import('node:net');
    const socket = connect(port, '127.0.0.1', () => socket.write('\x16\x03\x01 this is no HTTP\r\n\r\n'));
    let text = '';
    for await (const chunk of socket) text += String(chunk);
    expect(text).toMatch(/^HTTP\/1\.1 400 /);
    expect(JSON.parse(text.slice(text.indexOf('{')))).toMatchObject({
      code: 'invalid_argument',
      status: 400,
    });
  });
});

describe('health', () => {
  it('says what is missing, and never fails for it', async () => {
    await using hub = await TestHub.start({ settings: { SENDENSE_QEMU_NBD: '/nowhere/qemu-nbd' } });
    const { status, body } = await hub.get('/health', { token: undefined });
    expect(status).toBe(200);
    expect(body).toMatchObject({
      status: 'degraded',
      service: 'sendense-hub',
      version: expect.stringMatching(/^\d+\.\d+\.\d+/),
      commit: expect.any(String),
      dependencies: {
        database: { status: 'ok', detail: expect.stringContaining('schema') },
        repositories: { status: 'ok' },
        tunnel: { status: 'ok' },
        nodes: { status: 'ok' },
        qemu_nbd: { status: 'degraded', detail: expect.stringContaining('SENDENSE_QEMU_NBD') },
      },
    });
    hub.hub.context.catalog.ping = () => Promise.reject(new Error('disk I/O error'));
    expect((await hub.get('/health')).body).toMatchObject({
      dependencies: { database: { status: 'degraded', detail: 'disk I/O error' } },
    });
  });

  it('names removals that have begun and that nothing works on', async () => {
    await using hub = await TestHub.start();
    const { restorePoints, tasks } = hub.hub.context.catalog;
    const chain = { contextId: 'ctx-1', repositoryId: 'repo-1' };
    restorePoints.removing = () => Promise.resolve([{ id: 'backup-stuck', ...chain } as never]);
    expect((await hub.get('/health')).body).toMatchObject({
      status: 'degraded',
      dependencies: { removals: { status: 'degraded', detail: expect.stringContaining('backup-stuck') } },
    });
    const args = { context_id: 'ctx-1', repository_id: 'repo-1' };
    tasks.unfinished = () => Promise.resolve([{ kind: 'prune', args } as never]);
    expect((await hub.get('/health')).body).toMatchObject({
      dependencies: { removals: { status: 'ok', detail: '1 under way' } },
    });
  });
});

describe('metrics', () => {
  it('count backups, bytes, nodes, ports, and the process itself', async () => {
    await using hub = await TestHub.start();
    const { id } = await hub.addRepository();
    const { text, headers } = await hub.get('/metrics', { token: hub.tokens.viewer });
    expect(headers.get('content-type')).toMatch(/^text\/plain/);
    for (const line of [
      'sendense_backups{state="completed"} 0',
      'sendense_backup_queue_length 0',
      'sendense_nbd_ports{state="free"} 101',
      'sendense_nodes{state="online"} 0',
      `sendense_repository_available{repository_id="${id}"} 1`,
      'sendense_cleanups_pending 0',
      '# TYPE sendense_tunnel_bytes_total counter',
      'sendense_tunnel_bytes_total{direction="from_nodes"} 0',
    ])
      expect(text).toContain(line);
    expect(text).toMatch(/sendense_repository_bytes\{repository_id="[^"]+",kind="total"\} [1-9]/);
    expect(text).toMatch(/nodejs_eventloop_lag_seconds \S+/);
    expect(text).toMatch(/process_cpu_seconds_total \S+/);
    expect(text).toMatch(/sendense_build_info\{version="[^"]+",commit="[^"]+"\} 1/);
    const again = (await hub.get('/metrics')).text;
    expect(again).toMatch(
      /sendense_http_request_duration_seconds_count\{method="GET",route="\/metrics",status="200"\} 1/,
    );
  });
});
