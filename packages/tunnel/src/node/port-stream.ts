import { Duplex } from 'node:stream';
import { SendenseError } from '@sendense/core';
import { isPassedOn, type TakesMemory } from '@sendense/runtime';
import { carried } from '../ssh/buffer-memory.js';
import type { Carrier } from '../ssh/carrier.js';
import { writeOwned } from '../ssh/large-packets.js';
import type { Channel } from '../ssh/library.js';
import { keepWindowWide } from '../ssh/window.js';

const NOTHING = Buffer.alloc(0);

/**
 * A channel as an ordinary Duplex. ssh2's own stream says nothing when its connection is lost (it ends as if the peer
 * had finished, and swallows what is written), and its `destroy` takes no error.
 */
export class PortStream extends Duplex implements TakesMemory {
  readonly takesMemory = true;
  #carriedBytes = 0;

  constructor(
    private readonly channel: Channel,
    private readonly carrier: Carrier,
    lost: Promise<SendenseError | undefined>,
  ) {
    super({ allowHalfOpen: true, writableHighWaterMark: 1 << 20, readableHighWaterMark: 1 << 20 });
    keepWindowWide(channel);
    channel.on('data', (chunk: Buffer) => {
      keepWindowWide(channel);
      carried(chunk.length);
      if (!this.destroyed && !this.push(chunk)) channel.pause();
    });
    channel.on('end', () => this.push(null));
    channel.on('close', () => this.#channelClosed());
    channel.on('error', (error: Error) => this.destroy(error));
    void lost.then((error) => this.destroy(error));
  }

  /**
   * Grows as long as something waits here for the lane, and the lane carries something: whoever watches over silence need not
   * hold it against the other end. What waits for the channel's window waits for the other end.
   */
  get carriedBytes(): number {
    const { window } = this.channel.outgoing as { readonly window: number };
    if (this.writableLength > 0 && window > 0) this.#carriedBytes = this.carrier.tcp.bytesWritten;
    return this.#carriedBytes;
  }

  override _read(): void {
    this.channel.resume();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.carrier.collect();
    const written = () => {
      if (this.carrier.backlogged) this.carrier.onceDrained(done);
      else done();
    };
    if (isPassedOn(chunk)) writeOwned(this.channel, chunk, written);
    else this.channel.write(chunk, written);
  }

  override _final(done: () => void): void {
    this.channel.write(NOTHING, () => {
      this.channel.eof();
      done();
    });
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.channel.resume();
    this.channel.close();
    done(error);
  }

  /** The hub has closed the channel. What it sent is still read; what we have written and it did not take is an error. */
  #channelClosed(): void {
    if (this.writableFinished || this.carrier.tcp.destroyed) return;
    const unsent = this.writableLength > 0;
    this.destroy(
      unsent
        ? new SendenseError('tunnel_lost', 'the hub closed the channel before it took everything', {
            retryable: true,
          })
        : undefined,
    );
  }
}
