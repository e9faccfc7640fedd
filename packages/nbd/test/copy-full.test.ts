import { describe, expect, it } from '@jest/globals';
import { totalLength } from '@sendense/core';
import { requires } from '@sendense/runtime/testing';
import fc from 'fast-check';
import {
  allocatedExtents,
  BlockHashWriter,
  BufferPool,
  bytesToRead,
  HASH_BLOCK_BYTES,
  hashBlock,
  readBlockHashes,
} from '../src/index.js';
import { Bench, copy, KIB, MIB, patchyDisk, sameContent, whole } from './copying.js';
import { nbdkit, qemuNbdOnTcp } from './servers.js';

const describeWith = requires(describe, 'nbdkit', 'qemu-nbd', 'qemu-img');
const signal = new AbortController().signal;
const BLOCK = HASH_BLOCK_BYTES;

describeWith('copying to a fresh image', () => {
  it.each([512, 1000, BLOCK - 1, BLOCK, BLOCK + 1, MIB - 512, 5 * MIB, 5 * MIB + 512, 7 * MIB + 12_345])(
    'keeps every byte of a disk of %p bytes',
    async (sizeBytes) => {
      await using bench = new Bench();
      const image = bench.raw(patchyDisk(sizeBytes));
      const source = await bench.source(image);
      const target = await bench.qcow2(sizeBytes);
      const { targets } = await bench.targets(target);
      const result = await copy({ source, targets, extents: whole(sizeBytes), sizeBytes });
      expect(result.bytesRead).toBe(sizeBytes);
      expect(result.bytesWritten + result.bytesZeroed).toBe(sizeBytes);
      await bench.stop();
      expect(await sameContent(image, target)).toContain('identical');
    },
  );

  it('over TCP, with pieces of any size, keeps every byte', async () => {
    await using bench = new Bench();
    const sizeBytes = 20 * MIB + 512;
    const image = bench.raw(patchyDisk(sizeBytes));
    const source = await bench.source(image);
    for (const { bufferBytes, count } of [
      { bufferBytes: BLOCK, count: 1 },
      { bufferBytes: 3 * BLOCK + 5, count: 40 },
      { bufferBytes: 8 * MIB, count: 2 },
    ]) {
      const target = await bench.qcow2(sizeBytes);
      const server = bench.use(await qemuNbdOnTcp(target));
      const targets = await bench.connections(server, 4);
      const buffers = new BufferPool({ bufferBytes, count });
      await copy({ source, targets, extents: whole(sizeBytes), sizeBytes, buffers });
      expect(buffers.inUse).toBe(0);
      for (const client of targets) await client[Symbol.asyncDispose]();
      await server[Symbol.asyncDispose]();
      expect(await sameContent(image, target)).toContain('identical');
    }
  });

  it('writes what the extents name, whole blocks of it, and nothing else', async () => {
    await using bench = new Bench();
    const sizeBytes = 4 * MIB + 700;
    const disk = patchyDisk(sizeBytes);
    const source = await bench.source(bench.raw(disk));
    const someExtents = fc.array(
      fc.record({ offset: fc.nat(sizeBytes + BLOCK), length: fc.oneof(fc.nat(2000), fc.nat(MIB)) }),
      { maxLength: 15 },
    );
    await fc.assert(
      fc.asyncProperty(someExtents, async (extents) => {
        await using server = await nbdkit('memory', `size=${sizeBytes}`);
        await using reader = await server.connect();
        const targets = [await server.connect(), await server.connect()];
        const result = await copy({ source, targets, extents, sizeBytes });
        expect(result.bytesRead).toBe(bytesToRead(extents, sizeBytes));
        const expected = Buffer.alloc(sizeBytes);
        for (const { offset, length } of extents) {
          if (length === 0 || offset >= sizeBytes) continue;
          const from = offset - (offset % BLOCK);
          disk.copy(expected, from, from, Math.ceil((offset + length) / BLOCK) * BLOCK);
        }
        expect((await reader.read(0, sizeBytes)).equals(expected)).toBe(true);
        for (const target of targets) await target[Symbol.asyncDispose]();
      }),
      { numRuns: 15, endOnFailure: true },
    );
  });

  it('takes a hash of every block that it read, and of no other', async () => {
    await using bench = new Bench();
    const sizeBytes = 6 * MIB + 999;
    const disk = patchyDisk(sizeBytes);
    disk.fill(0, 2 * MIB, 3 * MIB);
    const source = await bench.source(bench.raw(disk), '--filter=delay', 'delay-read=1ms');
    const { targets } = await bench.targets(await bench.qcow2(sizeBytes));
    const path = bench.path('disk.hashes');
    const extents = [
      { offset: 5 * MIB, length: MIB + 999 },
      { offset: 100, length: 1 },
      { offset: MIB - 1, length: 2 * MIB },
    ];
    await using hashes = await BlockHashWriter.create(path, { sizeBytes });
    const result = await copy({ source, targets, extents, sizeBytes, hashes });
    await hashes.finish();
    const expected = new Map<number, string>();
    for (const { offset, length } of extents) {
      for (let block = Math.floor(offset / BLOCK); block * BLOCK < offset + length; block++) {
        const bytes = disk.subarray(block * BLOCK, (block + 1) * BLOCK);
        expected.set(block, bytes.some((byte) => byte !== 0) ? hashBlock(bytes).toString('hex') : 'zero');
      }
    }
    await using file = await readBlockHashes(path);
    const found = new Map<number, string>();
    for await (const run of file.runs()) {
      for (let index = 0; index < run.count; index++)
        found.set(
          run.firstBlock + index,
          run.kind === 'zero' ? 'zero' : run.hashes.toString('hex', index * 16, index * 16 + 16),
        );
    }
    expect(found).toEqual(expected);
    expect([...expected.values()]).toContain('zero');
    expect(result.hashedBlocks).toBe(expected.size);
  });

  it('leaves out zeros: a fresh image reads as zeros, and stays small', async () => {
    await using bench = new Bench();
    const sizeBytes = 64 * MIB;
    const disk = Buffer.alloc(sizeBytes);
    disk.write('data', 10 * MIB + 3);
    const image = bench.raw(disk);
    const source = await bench.source(image);
    const target = await bench.qcow2(sizeBytes);
    const { targets } = await bench.targets(target);
    const result = await copy({ source, targets, extents: whole(sizeBytes), sizeBytes });
    expect(result).toEqual({
      bytesRead: sizeBytes,
      bytesWritten: BLOCK,
      bytesZeroed: sizeBytes - BLOCK,
      hashedBlocks: 0,
    });
    await bench.stop();
    expect(await sameContent(image, target)).toContain('identical');
  });

  it('reports progress from nothing to everything', async () => {
    await using bench = new Bench();
    const sizeBytes = 3 * MIB;
    const source = await bench.source(bench.raw(patchyDisk(sizeBytes)));
    const { targets } = await bench.targets(await bench.qcow2(sizeBytes));
    const seen: [number, number][] = [];
    const extents = [{ offset: 10, length: 2 * MIB }];
    await copy({
      source,
      targets,
      extents,
      sizeBytes,
      onProgress: (done, total) => seen.push([done, total]),
    });
    const total = bytesToRead(extents, sizeBytes);
    expect(seen[0]).toEqual([0, total]);
    expect(seen.at(-1)).toEqual([total, total]);
    expect(seen.every(([done], index) => index === 0 || done > seen[index - 1]![0])).toBe(true);
  });

  it('of nothing is done at once', async () => {
    await using bench = new Bench();
    const source = await bench.source(bench.raw(Buffer.alloc(MIB)));
    const { targets } = await bench.targets(await bench.qcow2(MIB));
    const result = await copy({ source, targets, extents: [], sizeBytes: MIB });
    expect(result).toEqual({ bytesRead: 0, bytesWritten: 0, bytesZeroed: 0, hashedBlocks: 0 });
  });
});

describeWith('the allocated extents of an export', () => {
  it('are where its data is, also of a disk of 1 TiB', async () => {
    await using bench = new Bench();
    const TIB = 2 ** 40;
    await using server = await nbdkit('memory', 'size=1T');
    await using client = await server.connect({ blockStatus: true });
    const offsets = [0, 1 * MIB, 600 * 1024 * MIB, TIB - 64 * KIB];
    for (const offset of offsets) await client.write(offset, Buffer.alloc(64 * KIB, 1));
    const found = await allocatedExtents(client, { signal });
    expect(found).toEqual(offsets.map((offset) => ({ offset, length: 64 * KIB })));

    const target = await bench.qcow2(TIB);
    const { targets } = await bench.targets(target);
    const result = await copy({ source: client, targets, extents: found, sizeBytes: TIB });
    expect(result.bytesRead).toBe(4 * 64 * KIB);
    expect(await allocatedExtents(await reconnect(bench, target), { signal })).toEqual(found);
  });

  it('of a full and of an empty disk are everything and nothing', async () => {
    await using bench = new Bench();
    const full = await bench.source(bench.raw(Buffer.alloc(3 * MIB + 512, 1)));
    expect(totalLength(await allocatedExtents(full, { signal }))).toBe(3 * MIB + 512);
    await using empty = await nbdkit('memory', 'size=10G');
    await using client = await empty.connect({ blockStatus: true });
    expect(await allocatedExtents(client, { signal })).toEqual([]);
  });

  it('cannot be had without block status, and asking can be stopped', async () => {
    await using server = await nbdkit('memory', 'size=1M');
    await using without = await server.connect();
    await expect(allocatedExtents(without, { signal })).rejects.toMatchObject({ code: 'nbd_refused' });
    await using client = await server.connect({ blockStatus: true });
    await expect(allocatedExtents(client, { signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'cancelled',
    });
  });
});

async function reconnect(bench: Bench, image: string) {
  await bench.stop();
  const { server } = await bench.targets(image, 0);
  return bench.connect(server, true);
}
