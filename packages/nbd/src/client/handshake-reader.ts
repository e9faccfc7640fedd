import { protocolError } from './failures.js';
import type { ByteSink } from './wire.js';

/** More than a server says in a handshake unasked. */
const MAX_WAITING_BYTES = 64 * 1024;

/** Reads the handshake: so many bytes, please. Nothing here is large, so simplicity comes before copies. */
export class HandshakeReader implements ByteSink {
  #buffer = Buffer.allocUnsafe(4096);
  #start = 0;
  #end = 0;
  #wanted: { count: number; resolve: (bytes: Buffer) => void; reject: (error: unknown) => void } | undefined;
  #over: Error | undefined;

  constructor(private readonly server: string) {}

  /** The next `count` bytes. Rejects when the connection ends before. One reader at a time. */
  async read(count: number): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      this.#wanted = { count, resolve, reject };
      this.#serve();
    });
  }

  /** What has arrived and was not read. */
  rest(): Buffer {
    return this.#buffer.subarray(this.#start, this.#end);
  }

  space(): Uint8Array {
    if (this.#end === this.#buffer.length) {
      const waiting = this.rest();
      const room = Math.max(4096, waiting.length * 2);
      const larger = Buffer.allocUnsafe(room);
      waiting.copy(larger);
      this.#buffer = larger;
      this.#start = 0;
      this.#end = waiting.length;
    }
    return this.#buffer.subarray(this.#end);
  }

  took(count: number): void {
    this.#end += count;
    if (this.#end - this.#start > MAX_WAITING_BYTES)
      throw protocolError(this.server, 'it talks without being asked');
    this.#serve();
  }

  ended(error: Error | undefined): void {
    this.#over = error ?? new Error('the server closed the connection');
    this.#serve();
  }

  #serve(): void {
    const wanted = this.#wanted;
    if (!wanted) return;
    if (this.#end - this.#start >= wanted.count) {
      this.#wanted = undefined;
      const bytes = Buffer.from(this.#buffer.subarray(this.#start, this.#start + wanted.count));
      this.#start += wanted.count;
      wanted.resolve(bytes);
    } else if (this.#over) {
      this.#wanted = undefined;
      wanted.reject(this.#over);
    }
  }
}
