import { printable } from '@sendense/core';
import type { TunnelLimits } from '../hub/limits.js';
import type { AnswerTo, WorkerQuestion } from '../hub/messages.js';
import type { RefusedThing } from '../hub/policy.js';
import type { TunnelUser } from '../names.js';
import type { Socket } from 'node:net';
import type { Carrier } from '../ssh/carrier.js';
import type { Channel } from '../ssh/library.js';
import { Relay, type RelayCounters } from '../ssh/relay.js';

/** Who a peer has proven to be. */
export type Identity = ({ readonly kind: 'node' } & TunnelUser) | { readonly kind: 'enrolment' };

/** What the parts of one connection share. */
export interface Peer {
  readonly limits: TunnelLimits;
  readonly carrier: Carrier;
  readonly counters: RelayCounters;
  /** Set once, by the authentication. */
  readonly identity: Identity | undefined;
  /** Nothing can be sent any more. */
  readonly ended: boolean;
  readonly remoteAddress: string;
  ask<Q extends WorkerQuestion>(question: Q): Promise<AnswerTo<Q>>;
  /** Reports what the peer may not do; the caller says no to the peer. */
  refuse(what: RefusedThing, detail: string): void;
  /** Takes one of the connection's channels; false when all are in use. */
  takeChannel(): boolean;
  giveChannelBack(): void;
  close(reason: string): void;
}

const SHOWN_CHARACTERS = 120;

/** A stranger's text as it may stand in a log line and in the audit trail: one line, printable, short. */
export function shown(text: string): string {
  const line = printable(text.slice(0, SHOWN_CHARACTERS));
  return text.length > SHOWN_CHARACTERS ? `${line}…` : line;
}

/**
 * A peer names the largest packet that it takes. ssh2 would loop for ever on 0 and send a packet for each byte on 1;
 * every real implementation takes 32768 (RFC 4253, section 6.1).
 */
const MIN_PACKET_BYTES = 4096;

/** @returns undefined when the channel cannot be used; the connection is then closed */
export function startRelay(peer: Peer, channel: Channel, local: Socket): Relay | undefined {
  // ssh2 keeps what the peer said here, although its types do not say so.
  const { packetSize } = channel.outgoing as { readonly packetSize: number };
  if (packetSize >= MIN_PACKET_BYTES) return new Relay(channel, local, peer.carrier, peer.counters);
  peer.close('it takes no packets of a usable size');
  return undefined;
}
