import { throwIfAborted, type SendenseError } from '@sendense/core';
import type { CopySource } from '@sendense/nbd';

/** A disk in memory, as the node's copy engine reads one. */
export class MemorySource implements CopySource {
  readonly exportName = 'memory';
  readonly export: CopySource['export'];
  readonly #abandoned = new AbortController();

  /** @param beforeRead may wait, or throw what the read fails with */
  constructor(
    private readonly content: Buffer,
    private readonly beforeRead: () => Promise<void>,
  ) {
    this.export = {
      sizeBytes: content.length,
      ...{ readOnly: true, canFlush: false, canWriteZeroes: false, canFastZero: false, canMultiConn: true },
      ...{ minBlockBytes: 512, preferredBlockBytes: 4096, maxBlockBytes: 2 ** 25, hasBlockStatus: false },
    };
  }

  async read(offset: number, length: number, into: Buffer = Buffer.alloc(length)): Promise<Buffer> {
    await this.beforeRead();
    throwIfAborted(this.#abandoned.signal);
    this.content.copy(into, 0, offset, offset + length);
    return into.subarray(0, length);
  }

  abandon(reason: SendenseError): void {
    this.#abandoned.abort(reason);
  }
}
