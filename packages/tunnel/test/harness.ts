// A hub with a policy whose answers the test chooses, and the things that talk to it.
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { silentLogger } from '@sendense/runtime';
import { temporaryDirectory } from '@sendense/runtime/testing';
import {
  generateEd25519Key,
  startTunnelServer,
  type HubAddress,
  type Refusal,
  type TunnelPolicy,
  type TunnelServer,
  type TunnelServerOptions,
} from '../src/index.js';

export const NODE = 'node-1';
export const JOB = 'backup-pgtest1-20261121-084316';

export interface Harness extends AsyncDisposable {
  readonly server: TunnelServer;
  readonly hub: HubAddress;
  readonly directory: string;
  readonly key: { readonly privateKeyPem: string; readonly publicKey: string };
  /** Ports that may be opened, and the job that holds each. */
  readonly leases: Map<number, string>;
  readonly jobs: Set<string>;
  readonly refusals: Refusal[];
  readonly events: string[];
}

export async function startHarness(
  options: Partial<Pick<TunnelServerOptions, 'limits' | 'workers' | 'listen'>> & {
    readonly policy?: Partial<TunnelPolicy>;
  } = {},
): Promise<Harness> {
  const directory = temporaryDirectory('tunnel');
  const key = generateEd25519Key();
  const leases = new Map<number, string>();
  const jobs = new Set([JOB]);
  const refusals: Refusal[] = [];
  const events: string[] = [];
  const policy: TunnelPolicy = {
    authenticate: async ({ nodeName, jobId, publicKey }) => {
      if (nodeName !== NODE || publicKey !== key.publicKey) return { allowed: false, reason: 'unknown key' };
      if (jobId !== undefined && !jobs.has(jobId)) return { allowed: false, reason: `${jobId} does not run` };
      return { allowed: true };
    },
    enrol: async () => ({ allowed: false, reason: 'no token was given out' }),
    mayOpen: async ({ jobId, port }) => {
      const holder = leases.get(port);
      if (holder === undefined) return { allowed: false, reason: 'the port is not leased' };
      if (jobId !== undefined && jobId !== holder) return { allowed: false, reason: 'leased to another job' };
      return { allowed: true, jobId: holder };
    },
    refused: (refusal) => refusals.push(refusal),
    nodeConnected: ({ nodeName }) => events.push(`connected ${nodeName}`),
    nodeDisconnected: ({ nodeName, reason }) => events.push(`disconnected ${nodeName}: ${reason}`),
    ...options.policy,
  };
  const server = await startTunnelServer({
    listen: options.listen ?? { host: '127.0.0.1', port: 0 },
    hostKeyPem: generateEd25519Key().privateKeyPem,
    workers: options.workers ?? 1,
    runtimeDirectory: join(directory.path, 'run'),
    policy,
    owner: `test:${directory.path}`,
    log: silentLogger,
    ...(options.limits ? { limits: options.limits } : {}),
  });
  const hub = { ...server.address, hostKeyFingerprint: server.hostKeyFingerprint };
  return {
    server,
    hub,
    directory: directory.path,
    key,
    leases,
    jobs,
    refusals,
    events,
    [Symbol.asyncDispose]: async () => {
      await server[Symbol.asyncDispose]();
      directory[Symbol.dispose]();
    },
  };
}

export interface LocalServer extends AsyncDisposable {
  readonly port: number;
  readonly path: string | undefined;
  readonly sockets: ReadonlySet<Socket>;
  /** Stops listening; what is connected stays. */
  close(): void;
}

/** A TCP server on 127.0.0.1, or a unix socket's when a path is given. */
export async function localServer(onSocket: (socket: Socket) => void, path?: string): Promise<LocalServer> {
  const sockets = new Set<Socket>();
  const server: Server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.once('close', () => sockets.delete(socket));
    onSocket(socket);
  });
  await new Promise<void>((resolve) => {
    if (path === undefined) server.listen(0, '127.0.0.1', resolve);
    else server.listen(path, resolve);
  });
  const address = server.address();
  return {
    port: typeof address === 'string' ? 0 : (address as AddressInfo).port,
    path,
    sockets,
    close: () => server.close(),
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy();
      if (server.listening) await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

/** Sends back what it gets, and ends when the other side has ended. */
export async function echoServer(path?: string): Promise<LocalServer> {
  return localServer((socket) => socket.pipe(socket), path);
}
