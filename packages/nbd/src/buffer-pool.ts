import { SendenseError, throwIfAborted } from '@sendense/core';

/** A buffer on loan: `using loan = await pool.acquire()`. */
export interface BufferLoan extends Disposable {
  readonly buffer: Buffer;
}

export interface BufferPoolOptions {
  readonly bufferBytes: number;
  /** How many buffers there are at most; each is allocated when it is first needed. */
  readonly count: number;
}

/**
 * A fixed number of buffers, shared by all disks of a job: what bounds its memory. Who asks first is served first, so
 * that no disk starves another. Content is not cleared between loans.
 */
export class BufferPool {
  readonly bufferBytes: number;
  readonly count: number;
  readonly #free: Buffer[] = [];
  readonly #waiting = new Set<(buffer: Buffer) => void>();
  #allocated = 0;

  constructor({ bufferBytes, count }: BufferPoolOptions) {
    if (!Number.isSafeInteger(bufferBytes) || !Number.isSafeInteger(count) || bufferBytes < 1 || count < 1) {
      throw new SendenseError(
        'invalid_argument',
        `a buffer pool needs buffers of at least 1 byte, at least one of them: got ${count} of ${bufferBytes} bytes`,
      );
    }
    this.bufferBytes = bufferBytes;
    this.count = count;
  }

  /** Buffers that are on loan now. */
  get inUse(): number {
    return this.#allocated - this.#free.length;
  }

  /** @throws the signal's reason when it is aborted while waiting */
  async acquire(signal?: AbortSignal): Promise<BufferLoan> {
    throwIfAborted(signal);
    const free = this.#free.pop();
    if (free) return this.#lend(free);
    if (this.#allocated < this.count) {
      this.#allocated++;
      return this.#lend(Buffer.allocUnsafeSlow(this.bufferBytes));
    }
    return this.#lend(await this.#wait(signal));
  }

  async #wait(signal: AbortSignal | undefined): Promise<Buffer> {
    const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
    const stop = () => {
      if (this.#waiting.delete(resolve)) reject(signal?.reason);
    };
    this.#waiting.add(resolve);
    signal?.addEventListener('abort', stop, { once: true });
    try {
      return await promise;
    } catch (error) {
      throwIfAborted(signal);
      throw error;
    } finally {
      signal?.removeEventListener('abort', stop);
    }
  }

  #lend(buffer: Buffer): BufferLoan {
    let lent = true;
    return {
      buffer,
      [Symbol.dispose]: () => {
        if (!lent) return;
        lent = false;
        this.#takeBack(buffer);
      },
    };
  }

  #takeBack(buffer: Buffer): void {
    for (const next of this.#waiting) {
      this.#waiting.delete(next);
      next(buffer);
      return;
    }
    this.#free.push(buffer);
  }
}
