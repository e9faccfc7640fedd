import { SendenseError } from '@sendense/core';
import { blockCount, type BlockHashRun } from '../hashes/format.js';

/** Neighbouring blocks and what they must read as: data of these hashes, or zeros when there are none. */
export interface Expectation {
  readonly firstBlock: number;
  readonly count: number;
  readonly hashes: Buffer | undefined;
}

/**
 * What each block of a disk must read as, from the first to the last: a block that no hash is known of must read as zeros,
 * because a full reads all that is in use and an increment all that changed.
 *
 * @throws `block_hashes_invalid` when the runs do not ascend, or go beyond the disk; what `hashes` throws
 */
export async function* expectations(
  hashes: AsyncIterable<BlockHashRun>,
  sizeBytes: number,
): AsyncGenerator<Expectation, void, undefined> {
  const blocks = blockCount(sizeBytes);
  let next = 0;
  for await (const run of hashes) {
    const { firstBlock, count } = run;
    if (firstBlock < next || firstBlock + count > blocks)
      throw new SendenseError(
        'block_hashes_invalid',
        `the hashes of ${count} blocks from block ${firstBlock} are out of order or beyond the disk, which has ${blocks} blocks`,
      );
    if (firstBlock > next) yield { firstBlock: next, count: firstBlock - next, hashes: undefined };
    yield { firstBlock, count, hashes: run.kind === 'data' ? run.hashes : undefined };
    next = firstBlock + count;
  }
  if (next < blocks) yield { firstBlock: next, count: blocks - next, hashes: undefined };
}
