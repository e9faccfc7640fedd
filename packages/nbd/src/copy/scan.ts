import type { Extent } from '@sendense/core';
import { HASH_BLOCK_BYTES, HASH_BYTES, putHash, type BlockHashRun } from '../hashes/format.js';

const ZERO_BLOCK = Buffer.alloc(HASH_BLOCK_BYTES);

/** Neighbouring blocks that are all zero, or all not. */
export interface BlockRun extends Extent {
  readonly zero: boolean;
}

/** Finds the blocks that hold nothing but zeros (with memcmp, which stops at the first other byte). The extent begins with a block. */
export function findZeroBlocks(extent: Extent, data: Buffer): BlockRun[] {
  const runs: { offset: number; length: number; zero: boolean }[] = [];
  for (let at = 0; at < extent.length; at += HASH_BLOCK_BYTES) {
    const length = Math.min(HASH_BLOCK_BYTES, extent.length - at);
    const zero = data.compare(ZERO_BLOCK, 0, length, at, at + length) === 0;
    const last = runs.at(-1);
    if (last?.zero === zero) last.length += length;
    else runs.push({ offset: extent.offset + at, length, zero });
  }
  return runs;
}

/** The hashes of the blocks of an extent. */
export function hashRuns(runs: readonly BlockRun[], extent: Extent, data: Buffer): BlockHashRun[] {
  return runs.map(({ offset, length, zero }) => {
    const firstBlock = offset / HASH_BLOCK_BYTES;
    const count = Math.ceil(length / HASH_BLOCK_BYTES);
    if (zero) return { kind: 'zero', firstBlock, count };
    const hashes = Buffer.allocUnsafe(count * HASH_BYTES);
    const start = offset - extent.offset;
    for (let block = 0; block < count; block++) {
      const at = start + block * HASH_BLOCK_BYTES;
      const end = Math.min(at + HASH_BLOCK_BYTES, start + length);
      putHash(data.subarray(at, end), hashes, block * HASH_BYTES);
    }
    return { kind: 'data', firstBlock, count, hashes };
  });
}

/** What of a piece is written, and whether as zeros: its writes cut where the runs change. */
export function* cutWrites(writes: readonly Extent[], runs: readonly BlockRun[]): Generator<BlockRun> {
  let next = 0;
  for (const write of writes) {
    const writeEnd = write.offset + write.length;
    for (let run = runs[next]; run && run.offset < writeEnd; run = runs[next]) {
      const from = Math.max(write.offset, run.offset);
      const to = Math.min(writeEnd, run.offset + run.length);
      if (from < to) yield { offset: from, length: to - from, zero: run.zero };
      if (run.offset + run.length > writeEnd) break; // the next write may begin in this run
      next++;
    }
  }
}
