import { join } from 'node:path';
import { silentLogger } from '@sendense/runtime';
import { temporaryDirectory } from '@sendense/runtime/testing';
import {
  generateEd25519Key,
  makeEnrolmentToken,
  startTunnelServer,
  type TunnelPolicy,
  type TunnelServer,
} from '@sendense/tunnel';

/** As much of a hub as a node talks to: the real tunnel server with a policy that can be read and changed. */
export interface TestHub extends AsyncDisposable {
  readonly tunnel: TunnelServer;
  readonly host: string;
  readonly port: number;
  /** A token that enrols one node as `sna1`, once. */
  readonly token: string;
  /** Keys that may connect. */
  readonly keys: Set<string>;
  /** Which job holds a port. */
  readonly leases: Map<number, string>;
}

export async function startTestHub(): Promise<TestHub> {
  const folder = temporaryDirectory('hub');
  const keys = new Set<string>();
  const leases = new Map<number, string>();
  let secret: string | undefined = 'one-time-secret-0815';
  const policy: TunnelPolicy = {
    authenticate: async ({ publicKey }) =>
      keys.has(publicKey) ? { allowed: true } : { allowed: false, reason: 'the key is not known' },
    enrol: async (request) => {
      if (request.secret !== secret) return { allowed: false, reason: 'the token was used already' };
      secret = undefined;
      keys.add(request.publicKey);
      return { allowed: true, nodeName: 'sna1' };
    },
    mayOpen: async ({ port, jobId }) => {
      const holder = leases.get(port);
      return holder !== undefined && (jobId === undefined || jobId === holder)
        ? { allowed: true, jobId: holder }
        : { allowed: false, reason: 'not leased' };
    },
    refused: () => undefined,
    nodeConnected: () => undefined,
    nodeDisconnected: () => undefined,
  };
  const tunnel = await startTunnelServer({
    listen: { host: '127.0.0.1', port: 0 },
    hostKeyPem: generateEd25519Key().privateKeyPem,
    workers: 1,
    runtimeDirectory: join(folder.path, 'run'),
    policy,
    owner: `hub:${folder.path}`,
    log: silentLogger,
  });
  const { host, port } = tunnel.address;
  const { hostKeyFingerprint } = tunnel;
  return {
    tunnel,
    host,
    port,
    keys,
    leases,
    token: makeEnrolmentToken({ nodeName: 'sna1', secret, hostKeyFingerprint }),
    async [Symbol.asyncDispose]() {
      await tunnel[Symbol.asyncDispose]();
      folder[Symbol.dispose]();
    },
  };
}
