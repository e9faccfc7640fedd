import { SendenseError, throwIfAborted } from '@sendense/core';

/** A buffer on loan: `using loan = await pool.acquire()`. */
export interface BufferLoan extends Disposable {
  /** Takes up memory from when it is first asked for: whoever keeps the data elsewhere only takes its place. */
  readonly buffer: Buffer;
}

export interface BufferPoolOptions {
  readonly bufferBytes: number;
  /** How many buffers there are at most. */
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
  readonly #waiting = new Set<() => void>();
  #inUse = 0;

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
    return this.#inUse;
  }

  /** @throws the signal's reason when it is aborted while waiting */
  async acquire(signal?: AbortSignal): Promise<BufferLoan> {
    throwIfAborted(signal);
    if (this.#inUse === this.count) await this.#wait(signal);
    else this.#inUse++;
    return this.#lend();
  }

  /** Resolves when somebody has passed a place on. */
  async #wait(signal: AbortSignal | undefined): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const stop = () => {
      if (this.#waiting.delete(resolve)) reject(signal?.reason);
    };
    this.#waiting.add(resolve);
    signal?.addEventListener('abort', stop, { once: true });
    try {
      await promise;
    } catch (error) {
      throwIfAborted(signal);
      throw error;
    } finally {
      signal?.removeEventListener('abort', stop);
    }
  }

  #lend(): BufferLoan {
    let buffer: Buffer | undefined;
    let lent = true;
    const take = () => (buffer ??= this.#free.pop() ?? Buffer.allocUnsafeSlow(this.bufferBytes));
    return {
      get buffer() {
        return take();
      },
      [Symbol.dispose]: () => {
        if (!lent) return;
        lent = false;
        if (buffer) this.#free.push(buffer);
        this.#passOn();
      },
    };
  }

  #passOn(): void {
    for (const next of this.#waiting) {
      this.#waiting.delete(next);
      next();
      return;
    }
    this.#inUse--;
  }
}
