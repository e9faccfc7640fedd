import { SendenseError } from '@sendense/core';
import type { Logger } from '@sendense/runtime';
import type { HubAddress } from './hub-address.js';

export type TunnelClientState = 'connecting' | 'connected' | 'waiting';

export interface TunnelClientOptions {
  readonly hub: HubAddress;
  readonly nodeName: string;
  readonly privateKeyPem: string;
  /** The node's gRPC server: the hub's channels are connected to it. */
  readonly apiSocketPath: string;
  readonly log: Logger;
  /** `detail`: for `waiting`, why, and what to do about it when waiting will not help. */
  readonly onState?: (state: TunnelClientState, detail?: string) => void;
  readonly timing?: Partial<TunnelTiming>;
}

export interface TunnelTiming {
  /** From the TCP connection to a completed authentication. @default 15000 */
  readonly connectTimeoutMs: number;
  /** A silent hub is asked after this time. @default 5000 */
  readonly keepAliveIntervalMs: number;
  /** It is gone after this many unanswered questions. @default 3 */
  readonly keepAliveTries: number;
  /** First wait before connecting again; doubles, jittered. @default 500 */
  readonly backoffMinMs: number;
  /** Longest wait, and the wait after a refusal that needs somebody to act. @default 30000 */
  readonly backoffMaxMs: number;
  /** A connection that lasted this long starts the backoff afresh. @default 10000 */
  readonly stableAfterMs: number;
}

export interface TunnelClient extends AsyncDisposable {
  readonly state: TunnelClientState;
  readonly detail: string | undefined;
}

/** Keeps one control connection to the hub open until it is disposed of, reconnecting by itself. */
export function startTunnelClient(_options: TunnelClientOptions): TunnelClient {
  throw new SendenseError('internal', 'the tunnel client is not built yet');
}
