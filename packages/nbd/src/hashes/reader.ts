import { open } from 'node:fs/promises';
import { toSendenseError } from '@sendense/core';
import { damagedHashes } from './damaged.js';
import { FileCursor } from './file-cursor.js';
import {
  blockCount,
  DIGEST_BYTES,
  HASH_BLOCK_BYTES,
  HASH_BYTES,
  HEADER_BYTES,
  KIND,
  MAGIC,
  MAX_DATA_RUN_BLOCKS,
  RUN_HEAD_BYTES,
  VERSION,
  type BlockHashRun,
} from './format.js';

/** An open `.hashes` file. */
export interface BlockHashes extends AsyncDisposable {
  /** Of the disk. */
  readonly sizeBytes: number;
  readonly blockBytes: number;
  /**
   * The runs, ascending; can be walked once.
   *
   * @throws `block_hashes_invalid` at the first thing that is not right. The checksum is at the end: until the walk is
   * over, what it gave may be damaged. `verifyBlockHashesFile` first, where that matters.
   */
  runs(): AsyncGenerator<BlockHashRun, void, undefined>;
}

export interface BlockHashesSummary {
  readonly sizeBytes: number;
  readonly blockBytes: number;
  readonly dataBlocks: number;
  readonly zeroBlocks: number;
}

/**
 * Opens a `.hashes` file and reads its header.
 *
 * @throws `block_hashes_invalid` when it is none; `not_found`, `io_error` when it cannot be read
 */
export async function readBlockHashes(path: string): Promise<BlockHashes> {
  const file = await open(path, 'r').catch((error: unknown) => {
    const missing = (error as NodeJS.ErrnoException).code === 'ENOENT';
    throw toSendenseError(error, missing ? 'not_found' : 'io_error');
  });
  const cursor = new FileCursor(file, path);
  try {
    const sizeBytes = readHeader(await cursor.take(HEADER_BYTES), path);
    return {
      sizeBytes,
      blockBytes: HASH_BLOCK_BYTES,
      runs: () => readRuns(cursor, path, sizeBytes),
      [Symbol.asyncDispose]: async () => file.close(),
    };
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** Reads the whole file and checks structure and checksum. @throws as {@link readBlockHashes} */
export async function verifyBlockHashesFile(path: string): Promise<BlockHashesSummary> {
  await using hashes = await readBlockHashes(path);
  const blocks = { data: 0, zero: 0 };
  for await (const run of hashes.runs()) blocks[run.kind] += run.count;
  return {
    sizeBytes: hashes.sizeBytes,
    blockBytes: hashes.blockBytes,
    dataBlocks: blocks.data,
    zeroBlocks: blocks.zero,
  };
}

function readHeader(header: Buffer, path: string): number {
  if (!header.subarray(0, MAGIC.length).equals(MAGIC)) throw damagedHashes(path, 'it is no .hashes file');
  const version = header.readUInt32BE(8);
  if (version !== VERSION)
    throw damagedHashes(path, `it has format version ${version}, and this program knows ${VERSION}`);
  const sizeBytes = Number(header.readBigUInt64BE(16));
  const known =
    header.readUInt32BE(12) === HASH_BLOCK_BYTES &&
    header.readUInt32BE(24) === HASH_BYTES &&
    header.readUInt32BE(28) === 0 &&
    Number.isSafeInteger(sizeBytes);
  if (!known) throw damagedHashes(path, 'its header makes no sense');
  return sizeBytes;
}

async function* readRuns(
  cursor: FileCursor,
  path: string,
  sizeBytes: number,
): AsyncGenerator<BlockHashRun, void> {
  const end = blockCount(sizeBytes);
  let next = 0;
  let total = 0;
  for (;;) {
    const head = await cursor.take(RUN_HEAD_BYTES);
    const kind = head.readUInt32BE(0);
    const count = head.readUInt32BE(4);
    const position = Number(head.readBigUInt64BE(8));
    if (kind === KIND.trailer) {
      if (count !== 0 || position !== total)
        throw damagedHashes(path, 'its trailer counts other blocks than it holds');
      return readDigest(cursor, path);
    }
    if (kind !== KIND.data && kind !== KIND.zero)
      throw damagedHashes(path, `it holds a run of unknown kind ${kind}`);
    if (position < next || count < 1 || position + count > end)
      throw damagedHashes(
        path,
        `the run of ${count} blocks at block ${position} is out of order or beyond the disk`,
      );
    next = position + count;
    total += count;
    if (kind === KIND.zero) {
      yield { kind: 'zero', firstBlock: position, count };
    } else {
      if (count > MAX_DATA_RUN_BLOCKS)
        throw damagedHashes(path, `it holds a run of ${count} hashes, which is too long`);
      yield { kind: 'data', firstBlock: position, count, hashes: await cursor.take(count * HASH_BYTES) };
    }
  }
}

async function readDigest(cursor: FileCursor, path: string): Promise<void> {
  const digest = cursor.digest();
  if (!digest.equals(await cursor.take(DIGEST_BYTES)))
    throw damagedHashes(path, 'its checksum is wrong: it was altered');
  if (!(await cursor.atEnd())) throw damagedHashes(path, 'something follows its trailer');
}
