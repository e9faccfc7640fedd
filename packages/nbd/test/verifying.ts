// What the tests of the verification share: disks that were backed up, checks of them, and damage.
import { open } from 'node:fs/promises';
import { expect } from '@jest/globals';
import type { Extent } from '@sendense/core';
import {
  BlockHashWriter,
  HASH_BLOCK_BYTES,
  mergedHashes,
  verifyExport,
  type BlockHashRun,
  type BlockMismatch,
  type NbdClient,
  type VerifyOptions,
  type VerifyResult,
} from '../src/index.js';
import { copy, MIB, type Bench } from './copying.js';

export const BLOCK = HASH_BLOCK_BYTES;
/** The last block is short. */
export const SIZE = 8 * MIB + 1536;

export interface Point {
  readonly image: string;
  /** Of the whole chain, the newest first. */
  readonly hashes: readonly string[];
}

/** Backs a disk up as the engine does: in full, or what changed on top of another point. */
export async function backUp(
  bench: Bench,
  content: Buffer,
  extents: Extent[],
  parent?: Point,
): Promise<Point> {
  const image = await bench.qcow2(content.length, parent?.image);
  const source = await bench.source(bench.raw(content));
  const { targets } = await bench.targets(image);
  const path = bench.path('disk.hashes');
  await using hashes = await BlockHashWriter.create(path, { sizeBytes: content.length });
  const sizeBytes = content.length;
  await copy({ source, targets, extents, sizeBytes, targetHasBacking: parent !== undefined, hashes });
  await hashes.finish();
  await bench.stop();
  return { image, hashes: [path, ...(parent?.hashes ?? [])] };
}

export type Outcome = VerifyResult & { readonly found: readonly BlockMismatch[] };

export async function check(
  client: NbdClient,
  hashes: AsyncIterable<BlockHashRun>,
  options: Partial<VerifyOptions> = {},
): Promise<Outcome> {
  const found: BlockMismatch[] = [];
  const result = await verifyExport({
    client,
    hashes,
    sizeBytes: client.export.sizeBytes,
    signal: new AbortController().signal,
    onMismatch: (mismatch) => found.push(mismatch),
    ...options,
  });
  expect(result.mismatches).toBe(found.length);
  return { ...result, found: found.toSorted((a, b) => a.offset - b.offset) };
}

/** As the hub does: the whole chain through qemu-nbd. */
export async function verify(bench: Bench, { image, hashes }: Point, sizeBytes = SIZE): Promise<Outcome> {
  const { server } = await bench.targets(image, 0);
  const outcome = await check(await bench.connect(server, true), mergedHashes(hashes), { sizeBytes });
  await bench.stop();
  return outcome;
}

export async function flip(path: string, at: number): Promise<void> {
  await using file = await open(path, 'r+');
  const byte = Buffer.alloc(1);
  await file.read(byte, 0, 1, at);
  byte[0]! ^= 0x10;
  await file.write(byte, 0, 1, at);
}

export async function overwrite(bench: Bench, image: string, offset: number, data: Buffer): Promise<void> {
  const { targets } = await bench.targets(image, 1);
  await targets[0]!.write(offset, data);
  await bench.stop();
}

export async function* each(runs: readonly BlockHashRun[]): AsyncGenerator<BlockHashRun> {
  yield* runs;
}
