import type { Channel } from './library.js';

/**
 * What the peer may send on a channel before we have read it. ssh2's own 2 MiB allow 40 MB/s at 50 ms of round-trip
 * time; four lanes of these fill a gigabit line at 250 ms. A channel whose reader has stopped holds this much memory.
 */
export const WINDOW_BYTES = 8 << 20;

/** The part of ssh2's channel that is touched here; ssh2 offers no setting for it. */
interface WindowedChannel {
  readonly incoming: { window: number };
  readonly outgoing: { readonly id: number; readonly state: string };
  readonly _client: { readonly _protocol: { channelWindowAdjust(channel: number, bytes: number): void } };
}

/**
 * Keeps the peer's window wide: call it when a channel opens, and for each chunk that was read from it. What has come
 * and waits to be read counts as sent: without that, every chunk read after a pause would allow another windowful. ssh2
 * tops the window up itself when less than 1 MiB is left, but not while more than its own 2 MiB are unread.
 */
export function keepWindowWide(channel: Channel): void {
  const { incoming, outgoing, _client } = channel as unknown as WindowedChannel;
  const bytes = WINDOW_BYTES - incoming.window - channel.readableLength;
  if (bytes < WINDOW_BYTES / 2 || outgoing.state === 'closed') return;
  incoming.window += bytes;
  _client._protocol.channelWindowAdjust(outgoing.id, bytes);
}
