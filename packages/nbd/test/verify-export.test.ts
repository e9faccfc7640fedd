import { randomBytes } from 'node:crypto';
import { truncateSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { describe, expect, it } from '@jest/globals';
import { requires } from '@sendense/runtime/testing';
import fc from 'fast-check';
import { hashBlock, mergedHashes, type BlockHashRun } from '../src/index.js';
import { Bench, MIB, patchyDisk, whole } from './copying.js';
import { nbdkit } from './servers.js';
import { backUp, BLOCK, check, each, flip, overwrite, SIZE, verify } from './verifying.js';

const describeWith = requires(describe, 'nbdkit', 'qemu-nbd', 'qemu-img');

describeWith('verifying an export', () => {
  it('finds nothing in a chain that is as it was backed up', async () => {
    await using bench = new Bench();
    const disk = patchyDisk(SIZE);
    let point = await backUp(bench, disk, whole(SIZE));
    const blocks = Math.ceil(SIZE / BLOCK);
    expect(await verify(bench, point)).toMatchObject({ blocksChecked: blocks, mismatches: 0, found: [] });
    for (const offset of [100, 3 * MIB + 7, SIZE - 1]) {
      randomBytes(SIZE).copy(disk, offset, offset, Math.min(offset + 2 * BLOCK, SIZE));
      const emptied = MIB + Math.floor(offset / 2);
      disk.fill(0, emptied, emptied + 3 * BLOCK);
      const changes = [
        { offset, length: 2 * BLOCK },
        { offset: emptied, length: 3 * BLOCK },
      ];
      point = await backUp(bench, disk, changes, point);
      expect(await verify(bench, point)).toMatchObject({ blocksChecked: blocks, found: [] });
    }
  });

  it('finds a flipped byte in any file of the chain, and names its block', async () => {
    await using bench = new Bench();
    const disk = randomBytes(SIZE);
    const full = await backUp(bench, disk, whole(SIZE));
    const changes = [{ offset: 2 * MIB, length: MIB }];
    randomBytes(MIB).copy(disk, 2 * MIB);
    const point = await backUp(bench, disk, changes, full);
    // The last cluster of a full that was written in any order: its place on the disk is asked of the file itself.
    await flip(full.image, (await stat(full.image)).size - BLOCK);
    const { found } = await verify(bench, full);
    expect(found).toHaveLength(1);
    const hidden = found[0]!.offset >= 2 * MIB && found[0]!.offset < 3 * MIB;
    expect((await verify(bench, point)).found).toEqual(hidden ? [] : found);
    await flip(point.image, (await stat(point.image)).size - 1);
    const [changed] = (await verify(bench, point)).found.filter(
      ({ offset }) => offset >= 2 * MIB && offset < 3 * MIB,
    );
    expect(changed).toMatchObject({ length: BLOCK, expected: 'data' });
  });

  it.each([0, 5 * MIB + 3, SIZE - 1])('finds one changed byte at offset %i', async (offset) => {
    await using bench = new Bench();
    const disk = randomBytes(SIZE);
    const point = await backUp(bench, disk, whole(SIZE));
    await overwrite(bench, point.image, offset, Buffer.from([disk[offset]! ^ 1]));
    const start = offset - (offset % BLOCK);
    expect((await verify(bench, point)).found).toEqual([
      { offset: start, length: Math.min(BLOCK, SIZE - start), expected: 'data' },
    ]);
  });

  it('finds data where the hashes say zeros, and where no backup read anything', async () => {
    await using bench = new Bench();
    const disk = Buffer.alloc(SIZE);
    randomBytes(BLOCK).copy(disk, 0);
    // The first half was read, the other was not in use.
    const point = await backUp(bench, disk, [{ offset: 0, length: 4 * MIB }]);
    const strangers = [MIB + 5, 6 * MIB + 100, SIZE - 1];
    for (const offset of strangers) await overwrite(bench, point.image, offset, Buffer.from([1]));
    const { found } = await verify(bench, point);
    expect(found).toEqual([
      { offset: MIB, length: BLOCK, expected: 'zeros' },
      { offset: 6 * MIB, length: BLOCK, expected: 'zeros' },
      { offset: 8 * MIB, length: 1536, expected: 'zeros' },
    ]);
  });

  it('finds data that has become zeros, in whole blocks and in part', async () => {
    await using bench = new Bench();
    const disk = randomBytes(SIZE);
    const point = await backUp(bench, disk, whole(SIZE));
    const { targets } = await bench.targets(point.image, 1);
    await targets[0]!.writeZeroes(MIB, 2 * BLOCK);
    await targets[0]!.writeZeroes(4 * MIB + 4096, 512);
    await bench.stop();
    const { found } = await verify(bench, point);
    expect(found.map(({ offset }) => offset)).toEqual([MIB, MIB + BLOCK, 4 * MIB]);
  });

  it('does not read what must be zeros and is known to be', async () => {
    await using bench = new Bench();
    const disk = Buffer.alloc(SIZE);
    randomBytes(BLOCK).copy(disk, 3 * BLOCK);
    const point = await backUp(bench, disk, whole(SIZE));
    expect(await verify(bench, point)).toMatchObject({ bytesRead: BLOCK, found: [] });
    // Allocated, though it holds zeros: that must be looked at.
    await overwrite(bench, point.image, 5 * BLOCK + 512, Buffer.alloc(512));
    const { server } = await bench.targets(point.image, 0);
    const client = await bench.connect(server, true);
    expect(await check(client, mergedHashes(point.hashes), { sizeBytes: SIZE })).toMatchObject({ found: [] });
    // Without block status everything is.
    const blind = await bench.connect(server);
    expect(await check(blind, mergedHashes(point.hashes), { sizeBytes: SIZE })).toMatchObject({
      bytesRead: SIZE,
      found: [],
    });
  });

  it('finds what a truncated image has lost', async () => {
    await using bench = new Bench();
    const point = await backUp(bench, randomBytes(SIZE), whole(SIZE));
    truncateSync(point.image, (await stat(point.image)).size - 3 * BLOCK);
    const { found } = await verify(bench, point);
    expect(found.length).toBeGreaterThan(0);
    expect(found.every(({ expected }) => expected === 'data')).toBe(true);
  });

  it('finds a swapped parent', async () => {
    await using bench = new Bench();
    const full = await backUp(bench, randomBytes(SIZE), whole(SIZE));
    const other = await backUp(bench, randomBytes(SIZE), whole(SIZE));
    const { found } = await verify(bench, { image: other.image, hashes: full.hashes });
    expect(found).toHaveLength(Math.ceil(SIZE / BLOCK));
  });

  it('goes on behind blocks that cannot be read, and names them', async () => {
    await using bench = new Bench();
    const disk = randomBytes(2 * MIB);
    const point = await backUp(bench, disk, whole(2 * MIB));
    const raw = bench.raw(disk);
    const pread = [
      `if [ $4 -lt ${4 * BLOCK} ] && [ $(($4 + $3)) -gt ${3 * BLOCK} ]; then echo EIO bad sector >&2; exit 1; fi`,
      `dd if='${raw}' skip=$4 count=$3 iflag=count_bytes,skip_bytes status=none`,
    ];
    const server = bench.use(await nbdkit('eval', `get_size=echo ${2 * MIB}`, `pread=${pread.join('; ')}`));
    const { found } = await check(await bench.connect(server), mergedHashes(point.hashes));
    expect(found).toEqual([
      { offset: 3 * BLOCK, length: BLOCK, expected: 'data', unreadable: expect.stringContaining('EIO') },
    ]);
  });

  it('checks 50 000 scattered blocks of a large disk, and reads only those', async () => {
    await using bench = new Bench();
    const count = 50_000;
    const sizeBytes = count * 3 * BLOCK;
    const server = bench.use(await nbdkit('memory', `size=${sizeBytes}`));
    const client = await bench.connect(server, true);
    const sector = Buffer.alloc(512, 7);
    const block = Buffer.concat([sector, Buffer.alloc(BLOCK - 512)]);
    const wrong = [0, 777, 49_999].map((index) => index * 3);
    for (let at = 0; at < count; at += 500)
      await Promise.all(
        Array.from({ length: 500 }, async (_, index) => client.write((at + index) * 3 * BLOCK, sector)),
      );
    for (const each of wrong) await client.write(each * BLOCK + 600, sector);
    const hash = hashBlock(block);
    async function* hashes(): AsyncGenerator<BlockHashRun> {
      for (let index = 0; index < count; index++)
        yield { kind: 'data', firstBlock: index * 3, count: 1, hashes: hash };
    }
    const outcome = await check(client, hashes());
    expect(outcome.found.map(({ offset }) => offset / BLOCK)).toEqual(wrong);
    expect(outcome).toMatchObject({ blocksChecked: count * 3, bytesRead: count * BLOCK });
  });

  it('finds exactly the blocks that differ, whatever the disk and its hashes are', async () => {
    const blocks = 40;
    const sizeBytes = blocks * BLOCK - 512;
    const kinds = fc.array(fc.constantFrom('data', 'zeros', 'unknown'), {
      minLength: blocks,
      maxLength: blocks,
    });
    const shown = fc.array(fc.constantFrom('right', 'right', 'other', 'zeros'), {
      minLength: blocks,
      maxLength: blocks,
    });
    await fc.assert(
      fc.asyncProperty(kinds, shown, async (expected, actual) => {
        await using server = await nbdkit('memory', `size=${sizeBytes}`);
        await using client = await server.connect({ blockStatus: true });
        const runs: BlockHashRun[] = [];
        const wrong: number[] = [];
        for (const [index, kind] of expected.entries()) {
          const length = Math.min(BLOCK, sizeBytes - index * BLOCK);
          const right = kind === 'data' ? Buffer.alloc(length, index + 1) : Buffer.alloc(length);
          const is = { right, other: Buffer.alloc(length, 200), zeros: Buffer.alloc(length) }[actual[index]!];
          if (!is.equals(right)) wrong.push(index);
          if (is[0] !== 0) await client.write(index * BLOCK, is);
          const place = { firstBlock: index, count: 1 };
          if (kind === 'data') runs.push({ kind, ...place, hashes: hashBlock(right) });
          if (kind === 'zeros') runs.push({ kind: 'zero', ...place });
        }
        const { found } = await check(client, each(runs));
        expect(found.map(({ offset }) => offset / BLOCK)).toEqual(wrong);
      }),
      { numRuns: 40 },
    );
  });
});
