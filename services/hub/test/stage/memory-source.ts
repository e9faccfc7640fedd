import { throwIfAborted, type SendenseError } from '@sendense/core';
import type { CopySource } from '@sendense/nbd';
import { takeRoomyMemory, TRANSFER_BYTES } from '@sendense/runtime';

/** A disk in memory, as the node's copy engine reads one. */
export class MemorySource implements CopySource {
  readonly exportName = 'memory';
  readonly export: CopySource['export'];
  /** Memory stays. */
  readonly lost: CopySource['lost'] = new Promise(() => undefined);
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

  async readSlices(offset: number, length: number, take: (at: number, slice: Buffer) => void): Promise<void> {
    await this.beforeRead();
    throwIfAborted(this.#abandoned.signal);
    for (let at = 0; at < length; at += TRANSFER_BYTES) {
      const slice = takeRoomyMemory(Math.min(TRANSFER_BYTES, length - at));
      this.content.copy(slice, 0, offset + at);
      take(at, slice);
    }
  }

  abandon(reason: SendenseError): void {
    this.#abandoned.abort(reason);
  }
}
