import { SendenseError, throwIfAborted } from '@sendense/core';
import { rm } from 'node:fs/promises';
import { damagedHashes } from './damaged.js';
import { HASH_BYTES, type BlockHashRun } from './format.js';
import { readBlockHashes, type BlockHashes } from './reader.js';
import { BlockHashWriter } from './writer.js';

/** A `.hashes` file that is being walked, with the run that it stands at. */
interface Layer {
  readonly path: string;
  readonly file: BlockHashes;
  readonly runs: AsyncGenerator<BlockHashRun, void, undefined>;
  /** Undefined behind its last run. */
  run: BlockHashRun | undefined;
}

/**
 * The hashes of what a chain shows: of each block that any of the files knows, the newest one's. Ascending, disjoint, a
 * few runs in memory at a time.
 *
 * @param paths of `.hashes` files, the newest first
 * @throws `block_hashes_invalid` for a damaged file, or files of disks of different sizes. The checksums are at the end of
 * the files: until the walk is over, what it gave may be damaged. `not_found`, `io_error`.
 */
export async function* mergedHashes(paths: readonly string[]): AsyncGenerator<BlockHashRun, void, undefined> {
  await using stack = new AsyncDisposableStack();
  const layers: Layer[] = [];
  for (const path of paths) {
    const file = stack.use(await readBlockHashes(path));
    layers.push({ path, file, runs: file.runs(), run: undefined });
  }
  requireOneSize(layers);
  for (const layer of layers) await advance(layer);
  for (let block = 0; ;) {
    for (const layer of layers) while (layer.run && endOf(layer.run) <= block) await advance(layer);
    const next = nextRun(layers, block);
    if (!next) return;
    yield next;
    block = endOf(next);
  }
}

/**
 * Writes what {@link mergedHashes} gives into a file, durably. A file of that name is what an earlier try left behind, and
 * is replaced; nothing is left behind when this fails.
 *
 * @param paths the newest first
 * @throws as {@link mergedHashes}; `block_hashes_invalid` when they are of a disk of another size; `out_of_space`; the
 * signal's reason
 */
export async function mergeHashFiles(
  paths: readonly string[],
  into: string,
  { sizeBytes, signal }: { readonly sizeBytes: number; readonly signal?: AbortSignal | undefined },
): Promise<void> {
  throwIfAborted(signal);
  if (paths.includes(into))
    throw new SendenseError('invalid_argument', `${into} cannot be merged into itself`);
  await requireSize(paths, sizeBytes);
  await rm(into, { force: true });
  await using writer = await BlockHashWriter.create(into, { sizeBytes });
  for await (const run of mergedHashes(paths)) {
    throwIfAborted(signal);
    writer.append(run);
    await writer.drained();
  }
  await writer.finish();
}

/**
 * What the chain's hashes say of single blocks: undefined where the block reads as zeros, be it that they say so or that
 * no backup of the chain had anything to read there.
 *
 * @param paths the newest first
 * @throws as {@link mergedHashes}
 */
export async function lookUpHashes(
  paths: readonly string[],
  blocks: readonly number[],
): Promise<Map<number, Buffer | undefined>> {
  const found = new Map<number, Buffer | undefined>(blocks.map((block) => [block, undefined]));
  if (found.size === 0) return found;
  const wanted = [...found.keys()].toSorted((a, b) => a - b);
  let next = 0;
  // To the end, though no block may be left to look up: only then have all checksums been right.
  for await (const run of mergedHashes(paths)) {
    for (let block = wanted[next]; block !== undefined && block < endOf(run); block = wanted[++next]) {
      if (run.kind === 'zero' || block < run.firstBlock) continue;
      const at = (block - run.firstBlock) * HASH_BYTES;
      found.set(block, Buffer.from(run.hashes.subarray(at, at + HASH_BYTES)));
    }
  }
  return found;
}

async function advance(layer: Layer): Promise<void> {
  const next = await layer.runs.next();
  layer.run = next.done ? undefined : next.value;
}

/** What shows from `block` on: of the runs that begin first the newest, up to where a newer one begins. */
function nextRun(layers: readonly Layer[], block: number): BlockHashRun | undefined {
  let best: BlockHashRun | undefined;
  let from = Infinity;
  let to = Infinity;
  // From old to new, so that a newer run either replaces what was found or cuts it off.
  for (let index = layers.length - 1; index >= 0; index--) {
    const run = layers[index]?.run;
    if (!run) continue;
    const start = Math.max(run.firstBlock, block);
    if (start <= from) {
      // The older run begins later or at once; where this one ends is looked at again then.
      best = run;
      from = start;
      to = endOf(run);
    } else {
      to = Math.min(to, start);
    }
  }
  return best && part(best, from, to);
}

function part(run: BlockHashRun, from: number, to: number): BlockHashRun {
  const count = to - from;
  if (run.kind === 'zero') return { kind: 'zero', firstBlock: from, count };
  const at = (from - run.firstBlock) * HASH_BYTES;
  return { kind: 'data', firstBlock: from, count, hashes: run.hashes.subarray(at, at + count * HASH_BYTES) };
}

function endOf({ firstBlock, count }: BlockHashRun): number {
  return firstBlock + count;
}

function requireOneSize(layers: readonly Layer[]): void {
  const [newest] = layers;
  const other = layers.find(({ file }) => file.sizeBytes !== newest?.file.sizeBytes);
  if (newest && other) throw otherSize(other.path, other.file.sizeBytes, newest.file.sizeBytes);
}

async function requireSize(paths: readonly string[], sizeBytes: number): Promise<void> {
  for (const path of paths.slice(0, 1)) {
    await using file = await readBlockHashes(path);
    if (file.sizeBytes !== sizeBytes) throw otherSize(path, file.sizeBytes, sizeBytes);
  }
}

function otherSize(path: string, foundBytes: number, expectedBytes: number): SendenseError {
  const what = `they are of a disk of ${foundBytes} bytes, the chain's disk has ${expectedBytes}`;
  return damagedHashes(path, what, { expected_bytes: expectedBytes, found_bytes: foundBytes });
}
