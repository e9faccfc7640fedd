import type { Extent } from '@sendense/core';
import type { BlockStatusExtent } from '../client/export.js';
import { MAX_RANGE_BYTES } from '../client/protocol.js';
import type { VerifySource } from './source.js';

/** Walks an export's block status from front to back; one reply of the server is in memory at a time. */
export class ZeroStatus {
  #extents: readonly BlockStatusExtent[] = [];
  #index = 0;

  constructor(private readonly client: VerifySource) {}

  /**
   * The first stretch of `[from, to)` that the server does not call zero, cut at `to`; undefined when all of it reads as
   * zeros. `from` must not go back from one call to the next. Without block status nothing is called zero.
   */
  async nextData(from: number, to: number): Promise<Extent | undefined> {
    if (!this.client.export.hasBlockStatus)
      return from < to ? { offset: from, length: to - from } : undefined;
    for (let at = from; at < to;) {
      const { zero, end } = await this.#at(at);
      if (!zero) return { offset: at, length: Math.min(end, to) - at };
      at = end;
    }
    return undefined;
  }

  async #at(offset: number): Promise<{ zero: boolean; end: number }> {
    for (;;) {
      for (let extent = this.#extents[this.#index]; extent; extent = this.#extents[++this.#index]) {
        const end = extent.offset + extent.length;
        if (offset < end) return { zero: extent.zero, end };
      }
      const length = Math.min(this.client.export.sizeBytes - offset, MAX_RANGE_BYTES);
      this.#extents = await this.client.blockStatus(offset, length);
      this.#index = 0;
    }
  }
}
