import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from '@jest/globals';
import { silentLogger } from '@sendense/runtime';
import { eventually } from '@sendense/runtime/testing';
import { openLane, startTunnelClient, startTunnelServer } from '../src/index.js';
import { echoServer, JOB, NODE, startHarness, type Harness } from './harness.js';

const FIXTURE = fileURLToPath(new URL('fixture.js', import.meta.url));
const FAST = {
  connectTimeoutMs: 1000,
  backoffMinMs: 20,
  backoffMaxMs: 100,
  keepAliveIntervalMs: 100,
  keepAliveTries: 3,
};

interface Fixture extends Disposable {
  readonly child: ChildProcess;
  readonly said: Record<string, unknown>;
}

async function startFixture(...args: string[]): Promise<Fixture> {
  const child = spawn(process.execPath, [FIXTURE, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
  for await (const line of createInterface({ input: child.stdout })) {
    const said = JSON.parse(line) as Record<string, unknown>;
    return { child, said, [Symbol.dispose]: () => child.kill('SIGKILL') };
  }
  throw new Error('the fixture said nothing');
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

const startNode = (hub: Harness, timing = FAST) =>
  startTunnelClient({
    hub: hub.hub,
    nodeName: NODE,
    privateKeyPem: hub.key.privateKeyPem,
    apiSocketPath: join(hub.directory, 'api.sock'),
    log: silentLogger,
    timing,
  });

const lane = async (hub: Harness) =>
  openLane({
    hub: hub.hub,
    nodeName: NODE,
    jobId: JOB,
    privateKeyPem: hub.key.privateKeyPem,
    log: silentLogger,
    timing: FAST,
  });

describe('tunnel workers', () => {
  it('share the connections', async () => {
    await using hub = await startHarness({ workers: 2 });
    await using echo = await echoServer();
    hub.leases.set(echo.port, JOB);
    const lanes = [await lane(hub), await lane(hub), await lane(hub), await lane(hub)];
    const streams = await Promise.all(lanes.map(async (open) => open.openPort(echo.port)));
    for (const stream of streams) stream.on('error', () => undefined);
    const [victim] = hub.server.statistics().workerPids;
    process.kill(victim!, 'SIGKILL');
    await eventually('half of them went with one worker', () => hub.server.statistics().connections === 2);
    await Promise.all(lanes.map(async (open) => open[Symbol.asyncDispose]()));
  });

  it('are started again when they die, and their nodes come back', async () => {
    await using hub = await startHarness();
    await using _api = await echoServer(join(hub.directory, 'api.sock'));
    await using _node = startNode(hub);
    await eventually('connected', () => hub.server.isConnected(NODE));
    const [victim] = hub.server.statistics().workerPids;
    process.kill(victim!, 'SIGKILL');
    await eventually('its socket is gone', () => !existsSync(hub.server.socketPath(NODE)));
    await eventually('the node is back', () => hub.server.isConnected(NODE));
    expect(hub.events[1]).toBe(`disconnected ${NODE}: tunnel worker 1 ended (signal SIGKILL)`);
    expect(hub.server.statistics()).toMatchObject({ workers: 1, workerRestarts: 1 });
  });

  it('that are stuck do not keep their nodes out', async () => {
    await using hub = await startHarness({ workers: 2 });
    await using _api = await echoServer(join(hub.directory, 'api.sock'));
    // Patient enough that a busy machine does not look like a dead hub.
    await using _node = startNode(hub, { ...FAST, keepAliveIntervalMs: 1000 });
    await eventually('connected', () => hub.server.isConnected(NODE));
    const [first, second] = hub.server.statistics().workerPids;
    // The first of two idle workers took the connection.
    process.kill(first!, 'SIGSTOP');
    try {
      await eventually('the node is back, with the other one', () => hub.events.length >= 3, 90_000);
      expect(hub.events[1]).toMatch(/replaced by a newer connection/);
      expect(isAlive(second!)).toBe(true);
    } finally {
      process.kill(first!, 'SIGCONT');
    }
    await eventually('the node is connected', () => hub.server.isConnected(NODE), 60_000);
    expect(existsSync(hub.server.socketPath(NODE))).toBe(true);
  }, 240_000);

  it('end when their hub is killed', async () => {
    using hub = await startFixture('hub');
    const pids = hub.said['workerPids'] as number[];
    expect(pids.map(isAlive)).toEqual([true, true]);
    hub.child.kill('SIGKILL');
    await eventually('they are gone', () => !pids.some(isAlive));
  });

  it('end with their server, and leave nothing', async () => {
    const hub = await startHarness({ workers: 2 });
    const { workerPids } = hub.server.statistics();
    await using _api = await echoServer(join(hub.directory, 'api.sock'));
    await using node = startNode(hub);
    await eventually('connected', () => hub.server.isConnected(NODE));
    const path = hub.server.socketPath(NODE);
    await hub[Symbol.asyncDispose]();
    expect(workerPids.some(isAlive)).toBe(false);
    expect(existsSync(path)).toBe(false);
    expect(hub.events[1]).toBe(`disconnected ${NODE}: the hub is shutting down`);
    await eventually('the node knows', () => node.state === 'waiting');
    expect(node.detail).toMatch(/tunnel|hub/);
  });
});

describe('a frozen node', () => {
  it('is noticed, and is back when it thaws', async () => {
    await using hub = await startHarness({ limits: { keepAliveIntervalMs: 100, keepAliveTries: 3 } });
    const apiSocketPath = join(hub.directory, 'api.sock');
    await using _api = await echoServer(apiSocketPath);
    const { privateKeyPem } = hub.key;
    using node = await startFixture('node', JSON.stringify({ hub: hub.hub, privateKeyPem, apiSocketPath }));
    await eventually('connected', () => hub.server.isConnected(NODE));
    node.child.kill('SIGSTOP');
    await eventually('it is noticed', () => !hub.server.isConnected(NODE));
    expect(hub.events[1]).toBe(`disconnected ${NODE}: no sign of life`);
    node.child.kill('SIGCONT');
    await eventually('it is back', () => hub.server.isConnected(NODE));
  });
});

describe('the tunnel’s port', () => {
  it('is refused clearly when somebody else has it', async () => {
    await using hub = await startHarness();
    await using taken = await echoServer();
    const starting = startTunnelServer({
      listen: { host: '127.0.0.1', port: taken.port },
      hostKeyPem: hub.key.privateKeyPem,
      workers: 1,
      runtimeDirectory: join(hub.directory, 'second'),
      policy: {
        authenticate: async () => ({ allowed: false, reason: '' }),
        enrol: async () => ({ allowed: false, reason: '' }),
        mayOpen: async () => ({ allowed: false, reason: '' }),
        refused: () => undefined,
        nodeConnected: () => undefined,
        nodeDisconnected: () => undefined,
      },
      owner: 'test',
      log: silentLogger,
    });
    await expect(starting).rejects.toMatchObject({
      code: 'port_in_use',
      message: expect.stringContaining('SENDENSE_TUNNEL_LISTEN'),
    });
  });
});
