import { existsSync, readFileSync, writeFileSync } from 'node:fs';
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
  lookUpHashes,
  mergedHashes,
  mergeHashFiles,
  sampleBlocks,
  verifyBlockHashesFile,
  type BlockHashRun,
} from '../index.js';

const BLOCKS = 60;
const SIZE = BLOCKS * HASH_BLOCK_BYTES - 512;

/** What a file or a chain says of each block: a hash in hex, or that it is zero. */
type Blocks = Map<number, string>;

/** Runs of one file; `layer` makes its hashes differ from those of others. */
function runsOf(
  shape: readonly { gap: number; count: number; zero: boolean }[],
  layer: number,
): BlockHashRun[] {
  const runs: BlockHashRun[] = [];
  let next = 0;
  for (const { gap, count, zero } of shape) {
    const firstBlock = next + gap;
    next = firstBlock + count;
    if (next > BLOCKS) break;
    const hashes = Buffer.concat(
      Array.from({ length: count }, (_, index) => hashBlock(Buffer.from(`${layer}: ${firstBlock + index}`))),
    );
    runs.push(zero ? { kind: 'zero', firstBlock, count } : { kind: 'data', firstBlock, count, hashes });
  }
  return runs;
}

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

async function write(path: string, runs: readonly BlockHashRun[], sizeBytes = SIZE): Promise<string> {
  await using writer = await BlockHashWriter.create(path, { sizeBytes });
  for (const run of runs) writer.append(run);
  await writer.finish();
  return path;
}

async function merged(paths: readonly string[]): Promise<BlockHashRun[]> {
  const runs: BlockHashRun[] = [];
  for await (const run of mergedHashes(paths)) runs.push(run);
  return runs;
}

const shapes = fc.array(
  fc.array(fc.record({ gap: fc.nat(9), count: fc.integer({ min: 1, max: 12 }), zero: fc.boolean() }), {
    maxLength: 10,
  }),
  { maxLength: 6 },
);

/** Writes a file for each shape, the newest first, and says what the chain must show. */
async function chainOf(folder: string, layers: readonly Parameters<typeof runsOf>[0][]) {
  const runs = layers.map((shape, layer) => runsOf(shape, layer));
  const paths: string[] = [];
  for (const layer of runs) paths.push(await write(join(folder, `${files++}.hashes`), layer));
  const shown: Blocks = new Map(runs.toReversed().flatMap((layer) => [...blocksOf(layer)]));
  return { paths, shown };
}
let files = 0;

const byBlock = (blocks: Blocks) => [...blocks].toSorted(([a], [b]) => a - b);

describe('the hashes of a chain', () => {
  it('are of each block the newest ones, ascending, in a walk, in a file, and looked up', async () => {
    using folder = temporaryDirectory();
    await fc.assert(
      fc.asyncProperty(shapes, async (layers) => {
        const { paths, shown } = await chainOf(folder.path, layers);
        const runs = await merged(paths);
        expect([...blocksOf(runs)]).toEqual(byBlock(shown));
        expect(runs.reduce((sum, { count }) => sum + count, 0)).toBe(shown.size);
        const into = join(folder.path, 'merged');
        await mergeHashFiles(paths, into, { sizeBytes: SIZE });
        expect([...blocksOf(await merged([into]))]).toEqual(byBlock(shown));
        expect(await verifyBlockHashesFile(into)).toMatchObject({ sizeBytes: SIZE });
        const all = Array.from({ length: BLOCKS }, (_, index) => BLOCKS - 1 - index);
        const found = await lookUpHashes(paths, all);
        const hex = all.map((block) => found.get(block)?.toString('hex') ?? 'zero');
        expect(hex).toEqual(all.map((block) => shown.get(block) ?? 'zero'));
      }),
      { numRuns: 80 },
    );
  });

  it('merged pair by pair, as points are removed, are those of the whole chain', async () => {
    using folder = temporaryDirectory();
    await fc.assert(
      fc.asyncProperty(shapes, fc.nat(), async (layers, pick) => {
        const { paths, shown } = await chainOf(folder.path, layers);
        if (paths.length < 2) return;
        const at = pick % (paths.length - 1);
        const into = join(folder.path, `${files++}.merged`);
        await mergeHashFiles(paths.slice(at, at + 2), into, { sizeBytes: SIZE });
        expect([...blocksOf(await merged(paths.toSpliced(at, 2, into)))]).toEqual(byBlock(shown));
        // A crash may come between: the child's file is merged already, and merging it again changes nothing.
        const again = join(folder.path, `${files++}.merged`);
        await mergeHashFiles([into, paths[at + 1]!], again, { sizeBytes: SIZE });
        expect(readFileSync(again).equals(readFileSync(into))).toBe(true);
      }),
      { numRuns: 40 },
    );
  });

  it('of no file are none', async () => {
    expect(await merged([])).toEqual([]);
    expect(await lookUpHashes([], [3])).toEqual(new Map([[3, undefined]]));
  });

  it('of damaged files are refused, whichever is damaged and wherever', async () => {
    using folder = temporaryDirectory();
    const shape = [
      { gap: 1, count: 5, zero: false },
      { gap: 2, count: 3, zero: true },
      { gap: 0, count: 2, zero: false },
    ];
    const { paths } = await chainOf(folder.path, [shape, shape]);
    const damaged = join(folder.path, 'damaged');
    const into = join(folder.path, 'into');
    const whole = readFileSync(paths[0]!);
    await fc.assert(
      fc.asyncProperty(fc.boolean(), fc.nat(whole.length - 1), fc.nat(7), async (cut, at, bit) => {
        const bytes = Buffer.from(cut ? whole.subarray(0, at) : whole);
        if (!cut) bytes[at]! ^= 1 << bit;
        writeFileSync(damaged, bytes);
        for (const chain of [
          [damaged, paths[1]!],
          [paths[1]!, damaged],
        ]) {
          const outcomes = [
            merged(chain),
            mergeHashFiles(chain, into, { sizeBytes: SIZE }),
            lookUpHashes(chain, [0]),
            sampleBlocks(chain, { count: 4, sizeBytes: SIZE }),
          ].map(async (work) => work.then(() => 'taken', errorCode));
          expect(new Set(await Promise.all(outcomes))).toEqual(new Set(['block_hashes_invalid']));
          expect(existsSync(into)).toBe(false);
        }
      }),
      { numRuns: 100 },
    );
  });

  it('of disks of different sizes are refused', async () => {
    using folder = temporaryDirectory();
    const one = await write(join(folder.path, 'one'), []);
    const other = await write(join(folder.path, 'other'), [], SIZE + 512);
    const into = join(folder.path, 'into');
    const refusal = { code: 'block_hashes_invalid', context: { path: other } };
    await expect(merged([one, other])).rejects.toMatchObject(refusal);
    await expect(mergeHashFiles([other], into, { sizeBytes: SIZE })).rejects.toMatchObject(refusal);
    await expect(merged([one, join(folder.path, 'none')])).rejects.toMatchObject({ code: 'not_found' });
  });

  it('replace what an earlier try left behind, and leave nothing when they are cancelled', async () => {
    using folder = temporaryDirectory();
    const { paths, shown } = await chainOf(folder.path, [[{ gap: 0, count: 9, zero: false }]]);
    const into = join(folder.path, 'into');
    writeFileSync(into, 'half a file');
    await mergeHashFiles(paths, into, { sizeBytes: SIZE });
    expect([...blocksOf(await merged([into]))]).toEqual(byBlock(shown));
    await expect(mergeHashFiles(paths, paths[0]!, { sizeBytes: SIZE })).rejects.toMatchObject({
      code: 'invalid_argument',
    });
    const never = join(folder.path, 'never');
    const signal = AbortSignal.abort();
    await expect(mergeHashFiles(paths, never, { sizeBytes: SIZE, signal })).rejects.toMatchObject({
      code: 'cancelled',
    });
    expect(existsSync(never)).toBe(false);
  });

  it('of 60 increments with scattered changes are those of the newest', async () => {
    using folder = temporaryDirectory();
    const blocks = 50_000;
    const sizeBytes = blocks * HASH_BLOCK_BYTES;
    const layers = Array.from({ length: 60 }, (_, layer) =>
      Array.from({ length: 500 }, (__, index): BlockHashRun => {
        const firstBlock = index * 100 + (layer % 7) * 13;
        return { kind: 'data', firstBlock, count: 1, hashes: Buffer.alloc(HASH_BYTES, layer + 1) };
      }),
    );
    const full: BlockHashRun = {
      kind: 'data',
      firstBlock: 0,
      count: blocks,
      hashes: Buffer.alloc(blocks * HASH_BYTES, 100),
    };
    const paths: string[] = [];
    for (const runs of [...layers, [full]])
      paths.push(await write(join(folder.path, `${files++}`), runs, sizeBytes));
    const shown = blocksOf(await merged(paths));
    expect(shown.size).toBe(blocks);
    expect(shown.get(26)).toBe('03'.repeat(HASH_BYTES));
    expect(shown.get(100 * 499 + 78)).toBe('07'.repeat(HASH_BYTES));
    expect([...shown.values()].filter((hash) => hash.startsWith('64'))).toHaveLength(blocks - 7 * 500);
  });
});

describe('blocks that are sampled', () => {
  it('are ascending, different, on the disk, and as many as asked for', async () => {
    using folder = temporaryDirectory();
    const random = fc.infiniteStream(fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }));
    await fc.assert(
      fc.asyncProperty(shapes, fc.nat(80), random, async (layers, count, numbers) => {
        const { paths, shown } = await chainOf(folder.path, layers);
        const blocks = await sampleBlocks(paths, {
          count,
          sizeBytes: SIZE,
          random: () => numbers.next().value!,
        });
        expect(blocks).toHaveLength(Math.min(count, BLOCKS));
        expect(blocks).toEqual([...new Set(blocks)].toSorted((a, b) => a - b));
        for (const block of blocks) expect(block >= 0 && block < BLOCKS).toBe(true);
        const isData = (block: number) => (shown.get(block) ?? 'zero') !== 'zero';
        const data = [...shown.keys()].filter(isData).length;
        const wanted = Math.round(Math.min(count, BLOCKS) * 0.75);
        expect(blocks.filter(isData).length).toBeGreaterThanOrEqual(Math.min(data, wanted));
      }),
      { numRuns: 60 },
    );
  });

  it('are chosen evenly', async () => {
    using folder = temporaryDirectory();
    const { paths } = await chainOf(folder.path, [[{ gap: 10, count: 20, zero: false }]]);
    // A generator of our own, so that the outcome is always the same (Numerical Recipes' constants).
    let state = 1;
    const random = () => (state = (state * 1_664_525 + 1_013_904_223) % 2 ** 32) / 2 ** 32;
    const times = Array.from({ length: BLOCKS }, () => 0);
    for (let round = 0; round < 1000; round++)
      for (const block of await sampleBlocks(paths, { count: 8, sizeBytes: SIZE, random })) times[block]!++;
    // 6 of 20 from the data, and 2 from the other 54 that are left, some of them data.
    for (const [block, count] of times.entries()) {
      const data = block >= 10 && block < 30;
      expect(count).toBeGreaterThan(data ? 250 : 10);
      expect(count).toBeLessThan(data ? 400 : 80);
    }
  });

  it('are none when none are wanted', async () => {
    expect(await sampleBlocks(['/nonexistent'], { count: 0, sizeBytes: SIZE })).toEqual([]);
  });
});
