import { mergeExtents, totalLength, type Extent } from '@sendense/core';
import { giveBackMemory, TRANSFER_BYTES } from '@sendense/runtime';
import type { NbdClient } from '../client/client.js';
import type { BlockHashRun } from '../hashes/format.js';
import type { Piece } from './pieces.js';
import { cutWrites, findZeroBlocks, hashRuns, type BlockRun } from './scan.js';

export interface PieceCopyOptions {
  readonly piece: Piece;
  /** A connection for what is written next. */
  readonly target: () => NbdClient;
  readonly targetHasBacking: boolean;
  /** Whether the hashes of its blocks are wanted. */
  readonly hashing: boolean;
}

/** A part of the piece that has come. */
interface Slice extends Extent {
  readonly data: Buffer;
  readonly runs: readonly BlockRun[];
  readonly hashes: readonly BlockHashRun[];
}

/**
 * One piece on its way. Its slices are looked at and hashed as they come, while they are in the CPU's cache, and written when
 * all are there. A slice that comes again, because the read failed in its middle and was tried again, replaces the former.
 */
export class PieceCopy {
  readonly #slices: Slice[] = [];
  readonly #writes: Promise<unknown>[] = [];
  readonly #zeros: Extent[] = [];
  #bytesWritten = 0;

  constructor(private readonly options: PieceCopyOptions) {}

  /** Takes the memory of a slice over; `at` counts from the start of the piece. */
  take(at: number, data: Buffer): void {
    const { piece, hashing } = this.options;
    const length = Math.min(data.length, piece.length - at);
    if (length <= 0) {
      // It belongs to the last sector, which is read whole, but not to the disk.
      giveBackMemory(data);
      return;
    }
    const extent = { offset: piece.offset + at, length };
    const runs = findZeroBlocks(extent, data);
    const hashes = hashing ? hashRuns(runs, extent, data) : [];
    const index = at / TRANSFER_BYTES;
    const former = this.#slices[index];
    if (former) giveBackMemory(former.data);
    this.#slices[index] = { ...extent, data: data.subarray(0, length), runs, hashes };
  }

  get hashes(): readonly BlockHashRun[] {
    return this.#slices.flatMap((slice) => slice.hashes);
  }

  /**
   * Writes what has come. Call it once, when all has; the content is gone then.
   * @throws the first failure, when all writes have ended
   */
  async write(): Promise<{ readonly bytesWritten: number; readonly bytesZeroed: number }> {
    const { targetHasBacking, target } = this.options;
    let whole: Slice[] = [];
    for (const slice of this.#slices) {
      if (this.#isAllData(slice)) whole.push(slice);
      else {
        this.#writeWhole(whole);
        whole = [];
        this.#writeParts(slice);
      }
    }
    this.#writeWhole(whole);
    const zeros = mergeExtents(this.#zeros);
    if (targetHasBacking)
      for (const { offset, length } of zeros) this.#writes.push(target().writeZeroes(offset, length));
    const failed = (await Promise.allSettled(this.#writes)).find((write) => write.status === 'rejected');
    if (failed) throw failed.reason;
    return { bytesWritten: this.#bytesWritten, bytesZeroed: totalLength(zeros) };
  }

  /** Whether a slice is written with every byte, as data. */
  #isAllData({ offset, length, runs }: Slice): boolean {
    const [run] = runs;
    return (
      runs.length === 1 &&
      run?.zero === false &&
      this.options.piece.writes.some(
        (write) => write.offset <= offset && write.offset + write.length >= offset + length,
      )
    );
  }

  /** Neighbouring slices, in one request and without copying them. */
  #writeWhole(slices: readonly Slice[]): void {
    const [first] = slices;
    if (!first) return;
    this.#bytesWritten += totalLength(slices);
    const pieces = slices.map(({ data }) => data);
    this.#writes.push(this.options.target().writeAndRelease(first.offset, pieces));
  }

  #writeParts({ offset, data, runs }: Slice): void {
    const { piece, target, targetHasBacking } = this.options;
    const writes: Promise<void>[] = [];
    for (const part of cutWrites(piece.writes, runs)) {
      const connection = target();
      // Where nothing lies beneath zeros are left out; elsewhere they are written without data, if the target can do that.
      if (part.zero && (!targetHasBacking || connection.export.canWriteZeroes)) this.#zeros.push(part);
      else {
        this.#bytesWritten += part.length;
        writes.push(
          connection.write(part.offset, data.subarray(part.offset - offset).subarray(0, part.length)),
        );
      }
    }
    this.#writes.push(...writes);
    // Not after a failure: parts may still be on their way.
    void Promise.all(writes).then(
      () => giveBackMemory(data),
      () => undefined,
    );
  }
}
