import { mergeExtents, totalLength, type Extent } from '@sendense/core';
import { takeRoomyMemory, TRANSFER_BYTES } from '@sendense/runtime';

/** Where the data of a read goes. Positions count from the start of what it is for. */
export interface Destination {
  /** Place for the data from `at` on; maybe not for all of it. Undefined when that is there already. */
  place(at: number, length: number): Buffer | undefined;
  /** What {@link place} returned has been filled. @returns false when a part of it has come twice, if that is noticed here */
  arrived(at: number, length: number): boolean;
}

/** Which bytes of a stretch have come. Usually they come from front to back. */
export class Coverage {
  readonly #scattered: Extent[] = [];
  #to = 0;
  #bytes = 0;

  constructor(readonly length: number) {}

  add(at: number, length: number): void {
    this.#bytes += length;
    if (at === this.#to) this.#to += length;
    else this.#scattered.push({ offset: at, length });
  }

  /** How many bytes have come, counting those twice that came twice. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Whether every byte has come, and none twice. */
  isComplete(): boolean {
    if (this.#bytes !== this.length) return false;
    if (this.#scattered.length === 0) return true;
    return totalLength(mergeExtents([...this.#scattered, { offset: 0, length: this.#to }])) === this.length;
  }
}

/** All of it in a buffer of the caller's. */
export class WholeBuffer implements Destination {
  constructor(private readonly buffer: Buffer) {}

  place(at: number, length: number): Buffer {
    return this.buffer.subarray(at, at + length);
  }

  /** Twice to the same place does no harm before the request is complete, and then it is noticed there. */
  arrived(): boolean {
    return true;
  }
}

/**
 * Slices of {@link TRANSFER_BYTES}, the last may be shorter: each has memory of its own, from when its first byte comes. What
 * has come of a slice when the read fails is garbage.
 */
export class Slices implements Destination {
  readonly #coming = new Map<number, { readonly memory: Buffer; readonly coverage: Coverage }>();
  readonly #handedOver = new Set<number>();

  /** @param take is called with each slice as soon as it is complete, and owns its memory from then on */
  constructor(
    private readonly length: number,
    private readonly take: (at: number, slice: Buffer) => void,
  ) {}

  place(at: number, length: number): Buffer | undefined {
    const index = Math.floor(at / TRANSFER_BYTES);
    const start = index * TRANSFER_BYTES;
    return this.#slice(index)?.memory.subarray(at - start, at - start + length);
  }

  arrived(at: number, length: number): boolean {
    const index = Math.floor(at / TRANSFER_BYTES);
    const start = index * TRANSFER_BYTES;
    const slice = this.#slice(index);
    if (!slice) return false;
    const { memory, coverage } = slice;
    coverage.add(at - start, length);
    if (coverage.bytes < coverage.length) return true;
    if (!coverage.isComplete()) return false;
    this.#coming.delete(index);
    this.#handedOver.add(index);
    this.take(start, memory);
    return true;
  }

  /** @returns undefined for one that was handed over */
  #slice(index: number) {
    if (this.#handedOver.has(index)) return undefined;
    let slice = this.#coming.get(index);
    if (!slice) {
      const bytes = Math.min(TRANSFER_BYTES, this.length - index * TRANSFER_BYTES);
      slice = { memory: takeRoomyMemory(bytes), coverage: new Coverage(bytes) };
      this.#coming.set(index, slice);
    }
    return slice;
  }
}

/** A part of a destination, as a destination. */
export class PartOf implements Destination {
  constructor(
    private readonly whole: Destination,
    private readonly from: number,
  ) {}

  place(at: number, length: number): Buffer | undefined {
    return this.whole.place(this.from + at, length);
  }

  arrived(at: number, length: number): boolean {
    return this.whole.arrived(this.from + at, length);
  }
}
