import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, statSync } from 'node:fs';
import { connect, createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { buffer, text } from 'node:stream/consumers';
import { describe, expect, it } from '@jest/globals';
import { silentLogger } from '@sendense/runtime';
import { eventually } from '@sendense/runtime/testing';
import { generateEd25519Key, startTunnelClient, type TunnelClient, type TunnelTiming } from '../src/index.js';
import { echoServer, localServer, NODE, startHarness, type Harness } from './harness.js';
import { startProxy } from './proxy.js';
import { keyFingerprint } from '../src/keys.js';
import { Server } from '../src/ssh/library.js';

const FAST = {
  connectTimeoutMs: 1000,
  backoffMinMs: 20,
  backoffMaxMs: 100,
  keepAliveIntervalMs: 100,
  keepAliveTries: 3,
};

interface Options {
  readonly port?: number;
  readonly apiSocketPath?: string;
  readonly timing?: Partial<TunnelTiming>;
  readonly states?: string[];
  readonly key?: string;
  readonly hostKeyFingerprint?: string;
}

function startNode(hub: Harness, options: Options = {}): TunnelClient {
  const { hostKeyFingerprint = hub.hub.hostKeyFingerprint, port = hub.hub.port } = options;
  return startTunnelClient({
    hub: { host: '127.0.0.1', port, hostKeyFingerprint },
    nodeName: NODE,
    privateKeyPem: options.key ?? hub.key.privateKeyPem,
    apiSocketPath: options.apiSocketPath ?? join(hub.directory, 'api.sock'),
    log: silentLogger,
    timing: { ...FAST, ...options.timing },
    onState: (state) => options.states?.push(state),
  });
}

/** Calls the node through the hub's socket, as gRPC would. */
async function call(hub: Harness, message: string): Promise<string> {
  const socket = connect({ path: hub.server.socketPath(NODE) });
  socket.end(message);
  return text(socket);
}

describe('the hub’s way to a node', () => {
  it('is a unix socket for the hub’s user only, while the node is connected', async () => {
    await using hub = await startHarness();
    const apiSocketPath = join(hub.directory, 'api.sock');
    await using _api = await echoServer(apiSocketPath);
    const path = hub.server.socketPath(NODE);
    {
      await using node = startNode(hub);
      await eventually('connected', () => hub.server.isConnected(NODE) && node.state === 'connected');
      expect(statSync(path).mode & 0o777).toBe(0o600);
      expect(statSync(join(path, '..')).mode & 0o777).toBe(0o700);
      expect(await call(hub, 'hello node')).toBe('hello node');
    }
    await eventually('disconnected', () => !hub.server.isConnected(NODE));
    expect(readdirSync(join(path, '..'))).toEqual([]);
    expect(hub.events).toEqual([`connected ${NODE}`, expect.stringMatching(`^disconnected ${NODE}: `)]);
    expect(hub.refusals).toEqual([]);
  });

  it('carries many calls at once, whole, in both directions', async () => {
    await using hub = await startHarness();
    await using _api = await echoServer(join(hub.directory, 'api.sock'));
    await using _node = startNode(hub);
    await eventually('connected', () => hub.server.isConnected(NODE));
    const calls = Array.from({ length: 20 }, async () => {
      const sent = randomBytes(3 << 20);
      const socket = connect({ path: hub.server.socketPath(NODE) });
      socket.end(sent);
      expect((await buffer(socket)).equals(sent)).toBe(true);
    });
    await Promise.all(calls);
    await eventually('all channels are given back', () => hub.server.statistics().channels === 0);
  });

  it('tells both ends when the other one is gone', async () => {
    await using hub = await startHarness();
    const apiSocketPath = join(hub.directory, 'api.sock');
    await using api = await localServer(
      (socket) => socket.resume().once('end', () => socket.end()),
      apiSocketPath,
    );
    await using _node = startNode(hub);
    await eventually('connected', () => hub.server.isConnected(NODE));
    const caller = connect({ path: hub.server.socketPath(NODE) });
    caller.on('error', () => undefined);
    await eventually('the call has arrived', () => api.sockets.size === 1);
    caller.destroy();
    await eventually('the node knows', () => api.sockets.size === 0);
    const second = connect({ path: hub.server.socketPath(NODE) });
    await eventually('the call has arrived', () => api.sockets.size === 1);
    for (const socket of api.sockets) socket.destroy();
    await eventually('the caller knows', () => second.closed);
  });

  it('closes a call when the node’s own server is not there', async () => {
    await using hub = await startHarness();
    await using _node = startNode(hub, { apiSocketPath: join(hub.directory, 'nothing.sock') });
    await eventually('connected', () => hub.server.isConnected(NODE));
    await expect(call(hub, 'anybody?')).rejects.toThrow('ECONNRESET');
  });

  it('is not left lying about by an earlier run', async () => {
    await using first = await startHarness();
    const nodes = join(first.directory, 'later', 'nodes');
    mkdirSync(nodes, { recursive: true });
    const stale = createServer().listen(join(nodes, 'node-1.sock'));
    await eventually('a socket', () => existsSync(join(nodes, 'node-1.sock')));
    const { NodeSockets } = await import('../src/hub/node-sockets.js');
    expect(new NodeSockets(join(first.directory, 'later')).path('node-1')).toBe(join(nodes, 'node-1.sock'));
    expect(readdirSync(nodes)).toEqual([]);
    stale.close();
    expect(() => new NodeSockets(`/tmp/${'x'.repeat(110)}`)).toThrow(/longer than 107 bytes/);
  });
});

describe('a node', () => {
  it('comes back by itself when the line is cut', async () => {
    await using hub = await startHarness();
    await using _api = await echoServer(join(hub.directory, 'api.sock'));
    await using proxy = await startProxy(hub.hub.port);
    const states: string[] = [];
    await using node = startNode(hub, { port: proxy.port, states });
    await eventually('connected', () => hub.server.isConnected(NODE) && node.state === 'connected');
    proxy.cut();
    await eventually('reconnected', () => hub.events.length >= 3 && hub.server.isConnected(NODE));
    expect(await call(hub, 'again')).toBe('again');
    expect(states.slice(0, 3)).toEqual(['connecting', 'connected', 'waiting']);
  });

  it('and the hub both notice when the line goes dead without a word', async () => {
    await using hub = await startHarness({ limits: { keepAliveIntervalMs: 100, keepAliveTries: 3 } });
    await using _api = await echoServer(join(hub.directory, 'api.sock'));
    await using proxy = await startProxy(hub.hub.port);
    const states: string[] = [];
    await using _node = startNode(hub, { port: proxy.port, states });
    await eventually('connected', () => hub.server.isConnected(NODE));
    proxy.swallow();
    await eventually('the hub noticed', () => !hub.server.isConnected(NODE));
    await eventually('the node noticed', () => states.includes('waiting'));
    expect(hub.events[1]).toMatch(/no sign of life/);
    proxy.heal();
    await eventually('reconnected', () => hub.server.isConnected(NODE));
  });

  it('takes its own half-dead connection’s place', async () => {
    await using hub = await startHarness();
    await using _api = await echoServer(join(hub.directory, 'api.sock'));
    await using proxy = await startProxy(hub.hub.port);
    await using _old = startNode(hub, { port: proxy.port, timing: { keepAliveIntervalMs: 60_000 } });
    await eventually('connected', () => hub.server.isConnected(NODE));
    proxy.swallow();
    await using _new = startNode(hub);
    await eventually('replaced', () => hub.events.length >= 3);
    expect(hub.events).toEqual([
      `connected ${NODE}`,
      `disconnected ${NODE}: replaced by a newer connection from 127.0.0.1`,
      `connected ${NODE}`,
    ]);
    expect(await call(hub, 'the new one')).toBe('the new one');
  });

  it('stops although the hub does not answer', async () => {
    const { privateKeyPem, publicKey } = generateEd25519Key();
    const asked = Promise.withResolvers<void>();
    const silent = new Server({ hostKeys: [privateKeyPem] }, (connection) => {
      connection.on('authentication', (context) => context.accept());
      connection.on('request', () => asked.resolve());
      connection.on('error', () => undefined);
    });
    await new Promise<void>((listening) => silent.listen(0, '127.0.0.1', () => listening()));
    const node = startTunnelClient({
      hub: {
        host: '127.0.0.1',
        port: (silent.address() as AddressInfo).port,
        hostKeyFingerprint: keyFingerprint(publicKey),
      },
      nodeName: NODE,
      privateKeyPem,
      apiSocketPath: '/nowhere',
      log: silentLogger,
      timing: { ...FAST, connectTimeoutMs: 60_000, keepAliveIntervalMs: 60_000 },
    });
    await asked.promise;
    expect(node.state).toBe('connecting');
    await node[Symbol.asyncDispose]();
    await new Promise((closed) => silent.close(closed));
  });

  it('says what is wrong when waiting will not help, and goes on trying', async () => {
    await using hub = await startHarness();
    await using other = await startHarness();
    await using stranger = startNode(hub, { key: generateEd25519Key().privateKeyPem });
    await eventually('refused', () => stranger.state === 'waiting');
    expect(stranger.detail).toMatch(
      /does not accept the key of this node as node-1.*enrol it with a new token/,
    );
    await using misled = startNode(hub, { hostKeyFingerprint: other.hub.hostKeyFingerprint });
    await eventually('refused', () => misled.state === 'waiting');
    expect(misled.detail).toMatch(/presents the host key SHA256:.* instead of SHA256:/);
    await eventually('tries again', () => hub.refusals.length >= 2);
  });

  it('is thrown out when it is revoked', async () => {
    let revoked = false;
    const { policy, key } = keyedPolicy(() => !revoked);
    await using hub = await startHarness({ policy });
    await using node = startNode(hub, { key });
    await eventually('connected', () => hub.server.isConnected(NODE));
    revoked = true;
    await hub.server.disconnectNode(NODE, 'revoked by admin');
    expect(hub.server.isConnected(NODE)).toBe(false);
    expect(hub.server.statistics().connections).toBe(0);
    expect(hub.events[1]).toBe(`disconnected ${NODE}: revoked by admin`);
    await eventually('it knows', () => /revoked or never enrolled/.test(node.detail ?? ''));
  });

  it('stops at once while it waits or connects', async () => {
    await using silent = await localServer((socket) => socket.resume().once('end', () => socket.end()));
    await using hub = await startHarness();
    const node = startNode(hub, { port: silent.port });
    await eventually('it has connected', () => silent.sockets.size === 1);
    await node[Symbol.asyncDispose]();
    await eventually('its socket is closed', () => silent.sockets.size === 0);
  });
});

function keyedPolicy(isAllowed: () => boolean) {
  const { privateKeyPem, publicKey } = generateEd25519Key();
  return {
    key: privateKeyPem,
    policy: {
      authenticate: async (request: { publicKey: string }) =>
        isAllowed() && request.publicKey === publicKey
          ? { allowed: true as const }
          : { allowed: false as const, reason: 'revoked' },
    },
  };
}
