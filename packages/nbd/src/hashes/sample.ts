import { blockCount } from './format.js';
import { mergedHashes } from './merge.js';

export interface SampleOptions {
  readonly count: number;
  /** Of the disk. */
  readonly sizeBytes: number;
  /** From 0 up to, not including, 1. @default Math.random */
  readonly random?: () => number;
}

/** So many of the sampled blocks are ones that hold data; the rest may be any. */
const DATA_SHARE = 0.75;

/**
 * Picks blocks at random: three quarters of them from those that a chain's hashes know as data, where a lost change does
 * harm, the rest from the whole disk, because what was empty may have been written.
 *
 * @param paths of `.hashes` files, the newest first
 * @returns at most `count` block numbers, ascending, none twice; fewer only when the disk has fewer
 * @throws as {@link mergedHashes}
 */
export async function sampleBlocks(
  paths: readonly string[],
  { count, sizeBytes, random = Math.random }: SampleOptions,
): Promise<number[]> {
  const blocks = blockCount(sizeBytes);
  const wanted = Math.min(count, blocks);
  if (wanted < 1) return [];
  const chosen = new Set(await sampleData(paths, Math.round(wanted * DATA_SHARE), random));
  while (chosen.size < wanted) {
    let block = Math.floor(random() * blocks);
    // One that is taken already gives its place to the next free one.
    while (chosen.has(block)) block = (block + 1) % blocks;
    chosen.add(block);
  }
  return [...chosen].toSorted((a, b) => a - b);
}

/** Reservoir sampling: every block of data has the same chance, in one walk, whatever their number. */
async function sampleData(paths: readonly string[], count: number, random: () => number): Promise<number[]> {
  const reservoir: number[] = [];
  let seen = 0;
  for await (const run of mergedHashes(paths)) {
    if (run.kind === 'zero') continue;
    for (let block = run.firstBlock; block < run.firstBlock + run.count; block++) {
      seen++;
      const at = reservoir.length < count ? reservoir.length : Math.floor(random() * seen);
      if (at < count) reservoir[at] = block;
    }
  }
  return reservoir;
}
