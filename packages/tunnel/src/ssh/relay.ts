import type { Socket } from 'node:net';
import { giveBackMemory } from '@sendense/runtime';
import { carried } from './buffer-memory.js';
import { TurnWriter, type Carrier } from './carrier.js';
import type { Channel } from './library.js';
import { keepWindowWide } from './window.js';

/** What may wait for the local end (qemu-nbd, gRPC) before the channel is no longer read. */
const LOCAL_BACKLOG_BYTES = 4 << 20;
/** How long the local end may take to read what came before the channel's end. */
const LINGER_MS = 5000;
const NOTHING = Buffer.alloc(0);

export interface RelayCounters {
  fromPeerBytes: number;
  toPeerBytes: number;
}

/**
 * Joins an SSH channel and a local socket: bytes, half-close, backpressure and ends, both ways. The socket must allow
 * half-open. Neither is used by anybody else from here on.
 *
 * The channel's own `end()` is not used: on the server side ssh2 lets it close the whole channel, which would cut off
 * what the peer still sends.
 */
export class Relay {
  readonly #toLocal: TurnWriter;
  #lingering = false;
  #localEnd: 'open' | 'ending' | 'announced' = 'open';
  /** Settles when both ends are closed. */
  readonly closed: Promise<void>;

  constructor(
    private readonly channel: Channel,
    private readonly local: Socket,
    private readonly carrier: Carrier,
    private readonly counters: RelayCounters,
  ) {
    this.#toLocal = new TurnWriter(local);
    local.setNoDelay(true);
    this.closed = Promise.all([
      new Promise<void>((resolve) => channel.once('close', resolve)),
      new Promise<void>((resolve) => local.once('close', () => resolve())),
    ]).then(() => undefined);
    this.#fromChannel();
    this.#fromLocal();
    local.resume();
  }

  /** What the peer has sent and nobody has read yet: beyond the channel's window it breaks the rules of SSH. */
  get unreadBytes(): number {
    return this.channel.readableLength;
  }

  /** The SSH connection has ended: what has arrived still goes to the local end, then that ends too. */
  finish(): void {
    this.channel.resume();
    this.#closeLocalLater();
  }

  /** Ends both sides at once: the peer has lost its right to the channel. */
  abort(): void {
    this.local.destroy();
    this.channel.resume();
    this.channel.close();
  }

  #fromChannel(): void {
    const { channel, local } = this;
    keepWindowWide(channel);
    channel.on('data', (chunk: Buffer) => {
      keepWindowWide(channel);
      this.counters.fromPeerBytes += chunk.length;
      if (!local.writable) return;
      this.#toLocal.collect();
      local.write(chunk, (error) => {
        if (!error) giveBackMemory(chunk);
      });
      if (local.writableLength >= LOCAL_BACKLOG_BYTES) channel.pause();
    });
    local.on('drain', () => channel.resume());
    channel.on('end', () => local.end());
    channel.on('close', () => {
      local.destroySoon();
      this.#closeLocalLater();
    });
    // The connection's own error says more, and `close` follows.
    channel.on('error', () => undefined);
  }

  #fromLocal(): void {
    const { channel, local, carrier } = this;
    const resume = () => {
      if (carrier.backlogged) carrier.onceDrained(resume);
      else if (!channel.writableNeedDrain) local.resume();
    };
    local.on('data', (chunk: Buffer) => {
      this.counters.toPeerBytes += chunk.length;
      carried(chunk.length);
      carrier.collect();
      const room = channel.write(chunk);
      if (room && !carrier.backlogged) return;
      local.pause();
      resume();
    });
    channel.on('drain', resume);
    // An empty write keeps its place in the queue: the end is announced after the last byte. ssh2 takes no write after
    // that, not even an empty one.
    local.on('end', () => {
      this.#localEnd = 'ending';
      channel.write(NOTHING, () => {
        this.#localEnd = 'announced';
        channel.eof();
        if (local.destroyed) channel.close();
      });
    });
    local.on('error', () => channel.close());
    local.on('close', () => {
      channel.resume();
      if (this.#localEnd !== 'ending') channel.close();
    });
  }

  /** A local end that does not read (a stopped qemu-nbd) would keep the socket for ever. */
  #closeLocalLater(): void {
    const { local } = this;
    if (local.destroyed || this.#lingering) return;
    this.#lingering = true;
    const late = setTimeout(() => local.destroy(), LINGER_MS);
    local.once('close', () => clearTimeout(late));
  }
}
