import type { Duplex } from 'node:stream';
import { SendenseError } from '@sendense/core';
import type { Logger } from '@sendense/runtime';
import type { HubAddress } from './hub-address.js';
import type { TunnelTiming } from './client.js';

export interface LaneOptions {
  readonly hub: HubAddress;
  readonly nodeName: string;
  readonly jobId: string;
  readonly privateKeyPem: string;
  readonly log: Logger;
  /** Ends the connecting; an open lane is ended by disposing of it. */
  readonly signal?: AbortSignal;
  readonly timing?: Partial<TunnelTiming>;
}

/** One SSH connection of a backup, bound to its job. */
export interface Lane extends AsyncDisposable {
  /**
   * A byte stream to a port that the hub leased to the job. Half-closing works in both directions.
   *
   * @throws `permission_denied` when the hub does not let the job have the port, `tunnel_lost`
   */
  openPort(port: number, signal?: AbortSignal): Promise<Duplex>;
  /** Resolves when the lane has ended; undefined when it was disposed of. */
  readonly lost: Promise<SendenseError | undefined>;
}

/** @throws `host_key_mismatch`, `permission_denied` (key or job refused), `tunnel_lost` */
export async function openLane(_options: LaneOptions): Promise<Lane> {
  throw new SendenseError('internal', 'lanes are not built yet');
}
