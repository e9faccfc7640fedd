import { randomBytes } from 'node:crypto';
import { closeSync, ftruncateSync, openSync, writeSync } from 'node:fs';
import { describe, expect, it } from '@jest/globals';
import { mergeExtents, totalLength, type Extent } from '@sendense/core';
import { requires } from '@sendense/runtime/testing';
import fc from 'fast-check';
import {
  BlockHashWriter,
  BufferPool,
  HASH_BLOCK_BYTES,
  verifyBlockHashesFile,
  type CopyResult,
} from '../src/index.js';
import { Bench, copy, KIB, MIB, patchyDisk, sameContent, whole } from './copying.js';
import { nbdkit, qemuImg } from './servers.js';

const describeWith = requires(describe, 'nbdkit', 'qemu-nbd', 'qemu-img');
const BLOCK = HASH_BLOCK_BYTES;
const SIZE = 8 * MIB + 700;

/** A full point with this content, and an empty overlay on top of it. */
async function overlayOn(bench: Bench, content: Buffer): Promise<{ base: string; overlay: string }> {
  const base = await bench.qcow2(content.length);
  const source = await bench.source(bench.raw(content));
  const { targets } = await bench.targets(base);
  await copy({ source, targets, extents: whole(content.length), sizeBytes: content.length });
  await bench.stop();
  return { base, overlay: await bench.qcow2(content.length, base) };
}

/** Copies the changes to the overlay; afterwards the chain must read as `after` does. */
async function increment(
  bench: Bench,
  before: Buffer,
  after: Buffer,
  extents: Extent[],
): Promise<CopyResult> {
  const { overlay } = await overlayOn(bench, before);
  const image = bench.raw(after);
  const source = await bench.source(image);
  const { targets } = await bench.targets(overlay);
  const result = await copy({ source, targets, extents, sizeBytes: after.length, targetHasBacking: true });
  await bench.stop();
  expect(await sameContent(image, overlay)).toContain('identical');
  await qemuImg('check', '-q', overlay);
  return result;
}

describeWith('copying changes to an overlay', () => {
  const at = 2 * MIB;
  const data = () => randomBytes(3 * BLOCK);
  const zeros = () => Buffer.alloc(3 * BLOCK);
  it.each<[string, Buffer, Buffer, number, number]>([
    ['data to data', data(), data(), 0, 3 * BLOCK],
    ['data to zeros', data(), zeros(), 0, 3 * BLOCK],
    ['zeros to data', zeros(), data(), 0, 3 * BLOCK],
    ['zeros to zeros', zeros(), zeros(), 0, 3 * BLOCK],
    ['data to zeros in part of a block', data(), zeros(), 512, 1024],
    ['data to zeros across blocks', data(), zeros(), BLOCK - 512, 1024],
    ['data to data in part of a block', data(), data(), 4096, 512],
  ])('%s', async (_name, old, now, from, length) => {
    await using bench = new Bench();
    const before = patchyDisk(SIZE);
    old.copy(before, at);
    const after = Buffer.from(before);
    now.copy(after, at + from, from, from + length);
    const result = await increment(bench, before, after, [{ offset: at + from, length }]);
    expect(result.bytesWritten + result.bytesZeroed).toBe(length);
    const allZero = now.every((byte) => byte === 0) && length >= BLOCK;
    if (allZero) expect(result.bytesZeroed).toBe(length);
  });

  it('a hole in the source becomes explicit zeros, which hide what lies beneath', async () => {
    await using bench = new Bench();
    const result = await increment(bench, randomBytes(SIZE), Buffer.alloc(SIZE), whole(SIZE));
    expect(result).toMatchObject({ bytesWritten: 0, bytesZeroed: SIZE });
  });

  it('zeros reach a server that has no command for them as data', async () => {
    await using bench = new Bench();
    const server = bench.use(await nbdkit('--filter=nozero', 'memory', `size=${MIB}`));
    const target = await bench.connect(server);
    await target.write(0, randomBytes(MIB));
    const source = await bench.source(bench.raw(Buffer.alloc(MIB)));
    const extents = [{ offset: 4096, length: 3 * BLOCK }];
    const result = await copy({ source, targets: [target], extents, sizeBytes: MIB, targetHasBacking: true });
    expect(result).toMatchObject({ bytesWritten: 3 * BLOCK, bytesZeroed: 0 });
    expect(await target.read(4096, 3 * BLOCK)).toEqual(Buffer.alloc(3 * BLOCK));
  });

  it('the last block, which is short, is changed like any other', async () => {
    await using bench = new Bench();
    const before = randomBytes(SIZE);
    const after = Buffer.from(before);
    after.fill(9, SIZE - 1);
    await increment(bench, before, after, [{ offset: SIZE - 1, length: 1 }]);
    after.fill(0, SIZE - 700 - BLOCK);
    await increment(bench, before, after, [{ offset: SIZE - 700 - BLOCK, length: BLOCK + 700 + 5 * MIB }]);
  });

  it('changes that touch or are one byte apart stay apart', async () => {
    await using bench = new Bench();
    const before = randomBytes(SIZE);
    const after = Buffer.from(before);
    const extents = [
      { offset: 1000, length: 24 },
      { offset: 1024, length: 100 },
      { offset: 1125, length: 1 },
      { offset: 1127, length: 1 },
      { offset: BLOCK - 1, length: 1 },
      { offset: BLOCK, length: 1 },
      { offset: BLOCK + 2, length: BLOCK },
      { offset: 2 * BLOCK, length: BLOCK },
    ];
    for (const { offset, length } of extents) randomBytes(length).copy(after, offset);
    const result = await increment(bench, before, after, extents);
    expect(result.bytesWritten).toBe(totalLength(mergeExtents(extents)));
  });

  it('nothing outside of the extents is written, whatever the source holds there', async () => {
    await using bench = new Bench();
    const before = randomBytes(MIB);
    const source = randomBytes(MIB);
    const { overlay } = await overlayOn(bench, before);
    const { targets } = await bench.targets(overlay);
    const extents = [
      { offset: 513, length: 1 },
      { offset: 3 * BLOCK - 5, length: 10 },
      { offset: 10 * BLOCK + 4096, length: 4096 },
    ];
    await copy({
      source: await bench.source(bench.raw(source)),
      targets,
      extents,
      sizeBytes: MIB,
      targetHasBacking: true,
    });
    const expected = Buffer.from(before);
    for (const { offset, length } of extents) source.copy(expected, offset, offset, offset + length);
    await bench.stop();
    expect(await sameContent(bench.raw(expected), overlay)).toContain('identical');
  });

  it('any changes, from anything to anything, make the chain read as the source', async () => {
    const change = fc.record({
      offset: fc.nat(SIZE - 1),
      length: fc.oneof(fc.integer({ min: 1, max: 600 }), fc.integer({ min: 1, max: MIB })),
      kind: fc.constantFrom('data', 'zeros', 'same'),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 20 }), async (changes) => {
        await using bench = new Bench();
        const before = patchyDisk(SIZE);
        const after = Buffer.from(before);
        for (const { offset, length, kind } of changes) {
          const end = Math.min(offset + length, SIZE);
          if (kind === 'data') randomBytes(end - offset).copy(after, offset);
          if (kind === 'zeros') after.fill(0, offset, end);
        }
        await increment(bench, before, after, changes);
      }),
      { numRuns: 12, endOnFailure: true },
    );
  });

  it('nothing changed: nothing is read or written, nothing hashed, and the chain reads as before', async () => {
    await using bench = new Bench();
    const before = patchyDisk(SIZE);
    const { overlay } = await overlayOn(bench, before);
    const image = bench.raw(before);
    const { targets } = await bench.targets(overlay);
    const path = bench.path('overlay.hashes');
    await using hashes = await BlockHashWriter.create(path, { sizeBytes: SIZE });
    const result = await copy({
      ...{ source: await bench.source(image), targets, extents: [], sizeBytes: SIZE },
      ...{ targetHasBacking: true, hashes },
    });
    await hashes.finish();
    await bench.stop();
    expect(result).toMatchObject({ bytesRead: 0, bytesWritten: 0, bytesZeroed: 0 });
    expect(await verifyBlockHashesFile(path)).toMatchObject({ dataBlocks: 0, zeroBlocks: 0 });
    expect(await sameContent(image, overlay)).toContain('identical');
    // What lies beneath is all there is: the overlay itself holds no cluster.
    const map = JSON.parse(await qemuImg('map', '--output=json', overlay)) as { depth: number }[];
    expect(map.filter(({ depth }) => depth === 0)).toEqual([]);
  });

  it('extents that overlap, repeat and contain each other, in any order, are copied once', async () => {
    await using bench = new Bench();
    const before = randomBytes(SIZE);
    const after = Buffer.from(before);
    const extents = [
      { offset: 5 * MIB, length: MIB },
      { offset: MIB, length: 2 * MIB },
      { offset: 2 * MIB, length: 2 * MIB }, // over the end of the one before
      { offset: MIB + 700, length: 512 }, // inside
      { offset: MIB, length: 2 * MIB }, // again
      { offset: MIB - 100, length: 200 }, // over its beginning
      { offset: 3 * MIB - 1, length: 1 },
      { offset: SIZE - 700, length: 700 },
      { offset: SIZE - 701, length: 701 },
      { offset: 5 * MIB + BLOCK, length: MIB },
    ];
    for (const { offset, length } of extents) randomBytes(length).copy(after, offset);
    after.fill(0, 2 * MIB, 2 * MIB + 4 * BLOCK);
    const { bytesWritten, bytesZeroed, bytesRead } = await increment(bench, before, after, extents);
    const asked = totalLength(mergeExtents(extents));
    expect(bytesWritten + bytesZeroed).toBe(asked);
    expect(bytesRead).toBeGreaterThanOrEqual(asked);
    expect(bytesRead).toBeLessThanOrEqual(asked + 2 * BLOCK * mergeExtents(extents).length);
  });

  it('50 000 scattered changes leave the chain as the source is, from its first byte to its last', async () => {
    await using bench = new Bench();
    const extents = Array.from({ length: 50_000 }, (_, index) => ({
      offset: index * 4 * KIB + ((index * 7919) % 2500),
      length: 1 + ((index * 104_729) % 1500),
    }));
    const sizeBytes = 50_000 * 4 * KIB + 700;
    const image = bench.path('disk.raw');
    // Data beneath some of them, holes beneath the others.
    const raw = openSync(image, 'w');
    ftruncateSync(raw, sizeBytes);
    for (let at = 0; at < sizeBytes; at += 25 * MIB) writeSync(raw, randomBytes(2 * MIB), 0, 2 * MIB, at);
    const base = bench.path('base.qcow2');
    await qemuImg('convert', '-f', 'raw', '-O', 'qcow2', image, base);
    const overlay = await bench.qcow2(sizeBytes, base);
    const [data, zeros] = [randomBytes(4096), Buffer.alloc(4096)];
    for (const [index, { offset, length }] of extents.entries())
      writeSync(raw, index % 3 === 0 ? zeros : data, index % 2048, length, offset);
    closeSync(raw);
    const { targets } = await bench.targets(overlay);
    const source = await bench.source(image);
    const result = await copy({ source, targets, extents, sizeBytes, targetHasBacking: true });
    await bench.stop();
    expect(result.bytesWritten + result.bytesZeroed).toBe(totalLength(extents));
    expect(await sameContent(image, overlay)).toContain('identical');
    await qemuImg('check', '-q', overlay);
  }, 400_000);

  it('20 000 scattered changes cost their blocks, and no more', async () => {
    await using bench = new Bench();
    const sizeBytes = 1.5 * 1024 * MIB;
    const base = await bench.qcow2(sizeBytes);
    const baseServer = await bench.targets(base, 1);
    await baseServer.targets[0]!.write(0, randomBytes(32 * MIB));
    await bench.stop();
    const overlay = await bench.qcow2(sizeBytes, base);
    // Every block of the source's image is sparse but for what is changed.
    const sourceServer = bench.use(await nbdkit('memory', `size=${sizeBytes}`));
    const source = await bench.connect(sourceServer);
    const extents = Array.from({ length: 20_000 }, (_, index) => ({
      offset: index * BLOCK + (index % 120) * 512,
      length: 512,
    }));
    const sector = randomBytes(512);
    await Promise.all(
      extents.filter((_, index) => index % 2 === 0).map(async ({ offset }) => source.write(offset, sector)),
    );
    const { targets } = await bench.targets(overlay);
    const path = bench.path('overlay.hashes');
    await using hashes = await BlockHashWriter.create(path, { sizeBytes });
    const buffers = new BufferPool({ bufferBytes: MIB, count: 16 });
    const result = await copy({
      source,
      targets,
      extents,
      sizeBytes,
      targetHasBacking: true,
      hashes,
      buffers,
    });
    await hashes.finish();
    expect(result.bytesWritten + result.bytesZeroed).toBe(20_000 * 512);
    expect(result.bytesRead).toBe(20_000 * BLOCK);
    expect(await verifyBlockHashesFile(path)).toMatchObject({ dataBlocks: 10_000, zeroBlocks: 10_000 });
    const written = targets[0]!;
    for (const { offset } of [extents[0]!, extents[7777]!, extents[19_998]!]) {
      expect((await written.read(offset, 512)).equals(await source.read(offset, 512))).toBe(true);
    }
  });
});
