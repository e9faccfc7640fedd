import { SendenseError } from '@sendense/core';
import type { Listen, Logger } from '@sendense/runtime';
import type { TunnelPolicy } from './policy.js';

export interface TunnelServerOptions {
  /** Port 0 takes a free one: see {@link TunnelServer.address}. */
  readonly listen: Listen;
  /** ed25519 private key, OpenSSH or PKCS#8 PEM. */
  readonly hostKeyPem: string;
  /** Number of worker processes. */
  readonly workers: number;
  /** A node's socket is `<runtimeDirectory>/nodes/<name>.sock`, 0600, while the node is connected. */
  readonly runtimeDirectory: string;
  readonly policy: TunnelPolicy;
  /** Owner mark of the worker processes. */
  readonly owner: string;
  readonly log: Logger;
  readonly limits?: Partial<TunnelLimits>;
}

/** Bounds on what peers may use. */
export interface TunnelLimits {
  /** From the TCP connection to a completed authentication. @default 15000 */
  readonly authenticationTimeoutMs: number;
  /** Connections that have not authenticated yet, on the whole hub. @default 100 */
  readonly maxUnauthenticated: number;
  /** Failed attempts before a connection is closed. @default 6 */
  readonly maxAuthenticationTries: number;
  /** Open channels of one connection, both directions. @default 64 */
  readonly maxChannels: number;
  /** Authenticated connections of one node. @default 128 */
  readonly maxConnectionsPerNode: number;
  /** A silent peer is asked after this time. @default 5000 */
  readonly keepAliveIntervalMs: number;
  /** It is gone after this many unanswered questions. @default 3 */
  readonly keepAliveTries: number;
}

export interface TunnelStatistics {
  readonly workers: number;
  readonly workerRestarts: number;
  readonly unauthenticated: number;
  /** Authenticated connections: control, lanes, stock clients. */
  readonly connections: number;
  readonly channels: number;
  readonly bytesFromNodes: number;
  readonly bytesToNodes: number;
  readonly connectedNodes: readonly string[];
}

export interface TunnelServer extends AsyncDisposable {
  readonly address: Listen;
  /** `SHA256:…`, as ssh-keygen -l shows it. */
  readonly hostKeyFingerprint: string;
  isConnected(nodeName: string): boolean;
  /** Where the node's gRPC API is reached while it is connected. */
  socketPath(nodeName: string): string;
  /** Closes every connection of the node (it was revoked). */
  disconnectNode(nodeName: string, reason: string): Promise<void>;
  /** Closes the channels and lanes of a job: its ports were given back. */
  revokeJob(jobId: string): Promise<void>;
  statistics(): TunnelStatistics;
}

/**
 * Accepts the nodes' SSH connections. Resolves when the port is open.
 *
 * @throws `port_in_use` when another process holds the port, `invalid_config` when the host key or a path cannot be used
 */
export async function startTunnelServer(_options: TunnelServerOptions): Promise<TunnelServer> {
  throw new SendenseError('internal', 'the tunnel server is not built yet');
}
