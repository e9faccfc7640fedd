import { connect, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { printable, SendenseError } from '@sendense/core';
import { giveBackMemory, passOnMemory, takesMemory } from '@sendense/runtime';
import type { NbdAddress } from '../address.js';

/** What is done with the bytes that arrive. It says where it wants them, so that payload lands where it is needed. */
export interface ByteSink {
  /** Where the next bytes go. Never empty. */
  space(): Uint8Array;
  /** `count` bytes were put at the start of what {@link space} returned. A throw ends the connection. */
  took(count: number): void;
  /** Nothing comes any more. Called once. */
  ended(error: Error | undefined): void;
}

/**
 * A byte stream to a server. From a socket the kernel writes straight into the sink's space (`onread` of
 * `net.connect`): no buffer is allocated for a chunk, and none is copied. Other streams, SSH channels for one, hand over
 * chunks of their own, which are copied.
 */
export class Wire {
  #sink: ByteSink | undefined;
  /** What the kernel was given to write to, and for whom. */
  #lent: { readonly space: Uint8Array; readonly sink: ByteSink | undefined } | undefined;
  #heardBytes = 0;
  #ended = false;
  #error: Error | undefined;
  #corked = false;
  #stream: Duplex | undefined;
  readonly #closed = Promise.withResolvers<void>();

  private constructor(readonly description: string) {}

  /** Rejects with the system's error, or `invalid_argument` for a socket path that the system would cut off. */
  static async connect(address: NbdAddress, description: string, signal: AbortSignal): Promise<Wire> {
    checkSocketPath(address);
    const wire = new Wire(description);
    const socket = connect({
      ...(address.kind === 'unix' ? { path: address.path } : { host: address.host, port: address.port }),
      noDelay: true,
      onread: {
        buffer: () => wire.#lend(),
        callback: (count) => wire.#received(count),
      },
    });
    wire.#own(socket);
    await connected(socket, signal);
    return wire;
  }

  static over(stream: Duplex, description: string): Wire {
    const wire = new Wire(description);
    wire.#own(stream);
    // Listening starts the flow: not before there is somebody to listen.
    stream.on('data', (chunk: Buffer) => wire.#copy(chunk));
    stream.pause();
    return wire;
  }

  /** Grows with every sign of life: with what has arrived, and while what was sent still waits for its line. */
  get heardBytes(): number {
    return this.#heardBytes + (this.#stream ? carriedBytes(this.#stream) : 0);
  }

  /** From now on the bytes go there. */
  deliverTo(sink: ByteSink): void {
    this.#sink = sink;
    if (this.#ended) sink.ended(this.#error);
    else if (this.#stream?.isPaused()) this.#stream.resume();
  }

  /**
   * @param payload must stay as it is until `sent` is called
   * @param sent called when the stream no longer needs the payload; not called when the connection ends before
   */
  send(header: Buffer, payload?: Buffer, sent?: () => void): void {
    const stream = this.#openStream();
    if (!stream) return;
    stream.write(header);
    if (payload) {
      stream.write(payload, (error) => {
        if (!error) sent?.();
      });
    }
  }

  /** @param pieces header and payload, in memory that is given back when it has been sent (not when the connection ends before) */
  sendAndRelease(pieces: readonly Buffer[]): void {
    const stream = this.#openStream();
    if (!stream) return;
    const passOn = takesMemory(stream);
    for (const piece of pieces) {
      if (passOn) {
        passOnMemory(piece);
        stream.write(piece);
      } else {
        stream.write(piece, (error) => {
          if (!error) giveBackMemory(piece);
        });
      }
    }
  }

  /** What is sent within one turn goes out in one system call. */
  #openStream(): Duplex | undefined {
    const stream = this.#stream;
    if (!stream || this.#ended) return undefined;
    if (!this.#corked) {
      this.#corked = true;
      stream.cork();
      process.nextTick(() => {
        this.#corked = false;
        stream.uncork();
      });
    }
    return stream;
  }

  /** Ends the connection at once; nothing is written to or read from anybody's buffers afterwards. */
  destroy(error?: Error): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = error;
    this.#sink?.ended(error);
    this.#stream?.destroy();
  }

  /** Sends what is still to be sent, then waits for the other side to close, but not for long. */
  async close(timeoutMs: number): Promise<void> {
    const late = setTimeout(() => this.destroy(), timeoutMs);
    this.#stream?.end();
    await this.#closed.promise;
    clearTimeout(late);
  }

  #own(stream: Duplex): void {
    this.#stream = stream;
    stream.on('error', (error) => this.destroy(error));
    // Also when only the other side has finished: what waits to be sent would be read from buffers that are free again.
    stream.on('end', () => this.destroy());
    stream.on('close', () => {
      this.destroy();
      this.#closed.resolve();
    });
    if (stream.destroyed) {
      this.destroy();
      this.#closed.resolve();
    }
  }

  /** The socket asks for the next space as soon as it has filled the last one. */
  #lend(): Uint8Array {
    const space = this.#sink?.space() ?? Buffer.allocUnsafe(512);
    this.#lent = { space, sink: this.#sink };
    return space;
  }

  #received(count: number): boolean {
    const lent = this.#lent;
    if (lent?.sink === this.#sink) this.#took(count);
    else if (lent) this.#copy(lent.space.subarray(0, count)); // the sink has changed since
    return !this.#ended;
  }

  #copy(chunk: Uint8Array): void {
    for (let at = 0; at < chunk.length && this.#sink && !this.#ended;) {
      const part = chunk.subarray(at, at + this.#sink.space().length);
      this.#sink.space().set(part);
      at += part.length;
      this.#took(part.length);
    }
  }

  #took(count: number): void {
    if (this.#ended) return;
    this.#heardBytes += count;
    try {
      this.#sink?.took(count);
    } catch (error) {
      this.destroy(error as Error);
    }
  }
}

/**
 * A stream that shares its line with others: on a slow one, what is written waits for minutes behind theirs, and nobody can
 * answer before it has arrived.
 */
export interface SharesLine {
  /** Grows as long as something of this stream waits, and the line carries something, no matter of whom. */
  readonly carriedBytes: number;
}

function carriedBytes(stream: Duplex | (Duplex & SharesLine)): number {
  return 'carriedBytes' in stream ? stream.carriedBytes : 0;
}

/** A unix address has 108 bytes for its path, the NUL at its end included (unix(7)). */
const MAX_SOCKET_PATH_BYTES = 107;

function checkSocketPath(address: NbdAddress): void {
  if (address.kind !== 'unix' || Buffer.byteLength(address.path) <= MAX_SOCKET_PATH_BYTES) return;
  throw new SendenseError(
    'invalid_argument',
    `the socket path ${printable(address.path)} is longer than ${MAX_SOCKET_PATH_BYTES} bytes: use a shorter directory`,
  );
}

async function connected(socket: Socket, signal: AbortSignal): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const stop = () => {
    socket.destroy();
    reject(signal.reason);
  };
  if (signal.aborted) stop();
  signal.addEventListener('abort', stop, { once: true });
  socket.once('connect', resolve);
  socket.once('error', reject);
  try {
    await promise;
  } finally {
    signal.removeEventListener('abort', stop);
  }
}
