import { readFileSync, writeFileSync, existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { errorCode } from '@sendense/core';
import { temporaryDirectory } from '@sendense/runtime/testing';
import fc from 'fast-check';
import {
  BlockHashWriter,
  HASH_BLOCK_BYTES,
  HASH_BYTES,
  hashBlock,
  readBlockHashes,
  verifyBlockHashesFile,
  type BlockHashRun,
} from '../index.js';

/** One entry a block, so that it does not matter how a file joins and cuts runs. */
type Blocks = Map<number, 'zero' | string>;

function blocksOf(runs: Iterable<BlockHashRun>): Blocks {
  const blocks: Blocks = new Map();
  for (const run of runs) {
    for (let index = 0; index < run.count; index++) {
      const hash =
        run.kind === 'zero'
          ? 'zero'
          : run.hashes.toString('hex', index * HASH_BYTES, (index + 1) * HASH_BYTES);
      blocks.set(run.firstBlock + index, hash);
    }
  }
  return blocks;
}

const gapsAndRuns = fc.array(
  fc.record({ gap: fc.nat(3), count: fc.integer({ min: 1, max: 40 }), zero: fc.boolean() }),
  { maxLength: 30 },
);

function runsOf(shape: readonly { gap: number; count: number; zero: boolean }[]): BlockHashRun[] {
  let next = 0;
  return shape.map(({ gap, count, zero }) => {
    const firstBlock = next + gap;
    next = firstBlock + count;
    if (zero) return { kind: 'zero', firstBlock, count };
    const hashes = Buffer.concat(
      Array.from({ length: count }, (_, index) => hashBlock(Buffer.from(`block ${firstBlock + index}`))),
    );
    return { kind: 'data', firstBlock, count, hashes };
  });
}

async function write(path: string, sizeBytes: number, runs: readonly BlockHashRun[]): Promise<void> {
  await using writer = await BlockHashWriter.create(path, { sizeBytes });
  for (const run of runs) {
    writer.append(run);
    await writer.drained();
  }
  await writer.finish();
}

async function read(path: string): Promise<BlockHashRun[]> {
  await using hashes = await readBlockHashes(path);
  const runs: BlockHashRun[] = [];
  for await (const run of hashes.runs()) runs.push(run);
  return runs;
}

describe('block hashes', () => {
  it('are BLAKE3 cut to 16 bytes', () => {
    // From the BLAKE3 reference's test vectors: input lengths 0 and 1.
    expect(hashBlock(Buffer.alloc(0)).toString('hex')).toBe('af1349b9f5f9a1a6a0404dea36dcc949');
    expect(hashBlock(Buffer.alloc(1)).toString('hex')).toBe('2d3adedff11b61f14c886e35afa03673');
  });

  it('are read back as they were written', async () => {
    using folder = temporaryDirectory();
    let file = 0;
    await fc.assert(
      fc.asyncProperty(gapsAndRuns, fc.nat(HASH_BLOCK_BYTES - 1), async (shape, short) => {
        const path = join(folder.path, `${file++}.hashes`);
        const runs = runsOf(shape);
        const last = runs.at(-1);
        const blocks = last ? last.firstBlock + last.count : 0;
        const sizeBytes = Math.max(0, blocks * HASH_BLOCK_BYTES - short);
        await write(path, sizeBytes, runs);
        expect(blocksOf(await read(path))).toEqual(blocksOf(runs));
        const summary = await verifyBlockHashesFile(path);
        const count = (kind: string) =>
          runs.filter((run) => run.kind === kind).reduce((sum, run) => sum + run.count, 0);
        expect(summary).toEqual({
          sizeBytes,
          blockBytes: HASH_BLOCK_BYTES,
          dataBlocks: count('data'),
          zeroBlocks: count('zero'),
        });
      }),
      { numRuns: 60 },
    );
  });

  it('of long runs are cut so that no reader needs much memory', async () => {
    using folder = temporaryDirectory();
    const path = join(folder.path, 'long.hashes');
    const hashes = Buffer.alloc(10_000 * HASH_BYTES, 7);
    const runs: BlockHashRun[] = [
      { kind: 'data', firstBlock: 5, count: 10_000, hashes },
      { kind: 'zero', firstBlock: 10_005, count: 5_000_000_000 },
    ];
    await write(path, 2 ** 50, runs);
    const found = await read(path);
    expect(found.map((run) => run.count)).toEqual([4096, 4096, 1808, 4_294_967_295, 705_032_705]);
    expect(
      found.every((run) => run.kind === 'zero' || run.hashes.equals(hashes.subarray(0, run.count * 16))),
    ).toBe(true);
  });

  it('are refused out of order, beyond the disk, or in the wrong number', async () => {
    using folder = temporaryDirectory();
    await using writer = await BlockHashWriter.create(join(folder.path, 'x'), {
      sizeBytes: 10 * HASH_BLOCK_BYTES,
    });
    writer.append({ kind: 'zero', firstBlock: 2, count: 2 });
    const wrong: BlockHashRun[] = [
      { kind: 'zero', firstBlock: 3, count: 1 },
      { kind: 'zero', firstBlock: 4, count: 0 },
      { kind: 'zero', firstBlock: 9, count: 2 },
      { kind: 'zero', firstBlock: 4.5, count: 1 },
      { kind: 'data', firstBlock: 4, count: 2, hashes: Buffer.alloc(HASH_BYTES) },
    ];
    for (const run of wrong)
      expect(() => writer.append(run)).toThrow(expect.objectContaining({ code: 'invalid_argument' }));
  });

  it('that were not finished leave no file behind', async () => {
    using folder = temporaryDirectory();
    const path = join(folder.path, 'x.hashes');
    {
      await using writer = await BlockHashWriter.create(path, { sizeBytes: 1 });
      writer.append({ kind: 'zero', firstBlock: 0, count: 1 });
    }
    expect(existsSync(path)).toBe(false);
  });

  it('never overwrite those of another point', async () => {
    using folder = temporaryDirectory();
    const path = join(folder.path, 'x.hashes');
    await write(path, 1, []);
    await expect(BlockHashWriter.create(path, { sizeBytes: 1 })).rejects.toMatchObject({ code: 'io_error' });
    expect(await verifyBlockHashesFile(path)).toMatchObject({ dataBlocks: 0 });
  });

  it('that are cut off anywhere, or have one bit flipped anywhere, are seen', async () => {
    using folder = temporaryDirectory();
    const path = join(folder.path, 'whole.hashes');
    const runs = runsOf([
      { gap: 0, count: 3, zero: false },
      { gap: 2, count: 4, zero: true },
      { gap: 0, count: 1, zero: false },
    ]);
    await write(path, 20 * HASH_BLOCK_BYTES, runs);
    const whole = readFileSync(path);
    const damaged = join(folder.path, 'damaged.hashes');
    const codeOf = async (bytes: Buffer) => {
      writeFileSync(damaged, bytes);
      return verifyBlockHashesFile(damaged).then(() => 'intact', errorCode);
    };
    expect(await codeOf(whole)).toBe('intact');
    for (let length = 0; length < whole.length; length++)
      expect(await codeOf(whole.subarray(0, length))).toBe('block_hashes_invalid');
    for (let at = 0; at < whole.length; at++) {
      const bytes = Buffer.from(whole);
      bytes[at]! ^= 1 << (at % 8);
      expect(await codeOf(bytes)).toBe('block_hashes_invalid');
    }
    expect(await codeOf(Buffer.concat([whole, Buffer.alloc(1)]))).toBe('block_hashes_invalid');
  });

  it('in a file of any bytes are an answer or an error of ours, never more memory than the file', async () => {
    using folder = temporaryDirectory();
    const path = join(folder.path, 'any');
    const header = Buffer.alloc(32);
    header.write('SDHASHES', 'latin1');
    header.writeUInt32BE(1, 8);
    header.writeUInt32BE(HASH_BLOCK_BYTES, 12);
    header.writeBigUInt64BE(2n ** 52n, 16);
    header.writeUInt32BE(HASH_BYTES, 24);
    await fc.assert(
      fc.asyncProperty(fc.boolean(), fc.uint8Array({ maxLength: 200 }), async (withHeader, bytes) => {
        writeFileSync(path, withHeader ? Buffer.concat([header, bytes]) : bytes);
        expect(await verifyBlockHashesFile(path).then(() => 'intact', errorCode)).toBe(
          'block_hashes_invalid',
        );
      }),
      { numRuns: 300 },
    );
  });

  it('that are missing are not found', async () => {
    await expect(readBlockHashes('/nonexistent/x.hashes')).rejects.toMatchObject({ code: 'not_found' });
  });
});
