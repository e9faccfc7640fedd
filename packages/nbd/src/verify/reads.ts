import { HASH_BLOCK_BYTES, HASH_BYTES } from '../hashes/format.js';
import type { Expectation } from './expectations.js';
import type { ZeroStatus } from './zero-status.js';

/** What is read and compared at once: neighbouring blocks, whatever they must hold. */
export interface VerifyRead {
  readonly offset: number;
  readonly length: number;
  readonly expectations: readonly Expectation[];
}

const READ_BLOCKS = 16;

/** The longest {@link VerifyRead}. */
export const VERIFY_READ_BYTES = READ_BLOCKS * HASH_BLOCK_BYTES;

/** Cuts what must be read into reads: everything but what must be zeros and is known to be. */
export async function* cutReads(
  expected: AsyncIterable<Expectation>,
  status: ZeroStatus,
  sizeBytes: number,
): AsyncGenerator<VerifyRead, void, undefined> {
  let waiting: Expectation[] = [];
  let first = 0;
  let count = 0;
  const take = (): VerifyRead => {
    const offset = first * HASH_BLOCK_BYTES;
    const read = {
      offset,
      length: Math.min(count * HASH_BLOCK_BYTES, sizeBytes - offset),
      expectations: waiting,
    };
    waiting = [];
    count = 0;
    return read;
  };
  for await (const part of unknownParts(expected, status, sizeBytes)) {
    if (count > 0 && part.firstBlock !== first + count) yield take();
    for (let done = 0; done < part.count;) {
      if (count === 0) first = part.firstBlock + done;
      const more = Math.min(READ_BLOCKS - count, part.count - done);
      waiting.push(slice(part, done, more));
      count += more;
      done += more;
      if (count === READ_BLOCKS) yield take();
    }
  }
  if (count > 0) yield take();
}

async function* unknownParts(
  expected: AsyncIterable<Expectation>,
  status: ZeroStatus,
  sizeBytes: number,
): AsyncGenerator<Expectation, void, undefined> {
  for await (const part of expected) {
    if (part.hashes) {
      yield part;
      continue;
    }
    const end = Math.min((part.firstBlock + part.count) * HASH_BLOCK_BYTES, sizeBytes);
    for (let from = part.firstBlock * HASH_BLOCK_BYTES; from < end;) {
      const data = await status.nextData(from, end);
      if (!data) break;
      const firstBlock = Math.floor(data.offset / HASH_BLOCK_BYTES);
      const behind = Math.ceil((data.offset + data.length) / HASH_BLOCK_BYTES);
      yield { firstBlock, count: behind - firstBlock, hashes: undefined };
      from = behind * HASH_BLOCK_BYTES;
    }
  }
}

function slice({ firstBlock, hashes }: Expectation, from: number, count: number): Expectation {
  return {
    firstBlock: firstBlock + from,
    count,
    hashes: hashes?.subarray(from * HASH_BYTES, (from + count) * HASH_BYTES),
  };
}
