import { describe, expect, it } from '@jest/globals';
import { clipExtents, mergeExtents, totalLength, type Extent } from '@sendense/core';
import { giveBackMemory, memoryOf, takeRoomyMemory, TRANSFER_BYTES } from '@sendense/runtime';
import fc from 'fast-check';
import type { NbdClient } from '../client/client.js';
import { HASH_BLOCK_BYTES, hashBlock } from '../hashes/format.js';
import { PieceCopy } from './piece-copy.js';

const BLOCK = HASH_BLOCK_BYTES;
const OFFSET = 5 * BLOCK;

/** A target in memory. As a tunnel does, it spoils memory that it is given, and what lies around, before it gives it back. */
class Target {
  readonly content: Buffer;
  readonly export = { canWriteZeroes: true };

  constructor(length: number) {
    this.content = Buffer.alloc(length, 0xaa);
  }

  async write(offset: number, data: Buffer): Promise<void> {
    await Promise.resolve(); // it is still needed then
    data.copy(this.content, offset - OFFSET);
  }

  async writeZeroes(offset: number, length: number): Promise<void> {
    this.content.fill(0, offset - OFFSET, offset - OFFSET + length);
  }

  async writeAndRelease(offset: number, pieces: readonly Buffer[]): Promise<void> {
    let at = offset - OFFSET;
    for (const piece of pieces) {
      piece.copy(this.content, at);
      at += piece.length;
      memoryOf(piece)?.fill(0xee);
      giveBackMemory(piece);
    }
  }
}

const kinds = fc.array(fc.constantFrom('zero', 'data', 'almost'), { minLength: 1, maxLength: 70 });
/** Of a block, at its begin: which of them hold what; long ones reach into a third slice. */
const runs = fc.array(fc.tuple(fc.constantFrom('zero', 'data', 'almost'), fc.integer({ min: 1, max: 40 })), {
  minLength: 1,
  maxLength: 4,
});
const contents = fc.oneof(
  kinds,
  runs.map((list) => list.flatMap(([kind, count]) => Array.from({ length: count }, () => kind))),
);

function contentOf(list: readonly string[], short: number): Buffer {
  const content = Buffer.alloc(list.length * BLOCK - short);
  for (const [index, kind] of list.entries()) {
    const end = Math.min((index + 1) * BLOCK, content.length);
    if (kind === 'data') content.fill(index + 1, index * BLOCK, end);
    if (kind === 'almost') content[end - 1] = 1;
  }
  return content;
}

/** Slices of the content, with zeros behind its end up to whole sectors. */
function feed(copy: PieceCopy, content: Buffer, order: (count: number) => number[]): void {
  const read = Buffer.concat([content, Buffer.alloc((512 - (content.length % 512)) % 512)]);
  for (const index of order(Math.ceil(read.length / TRANSFER_BYTES))) {
    const at = index * TRANSFER_BYTES;
    const slice = takeRoomyMemory(Math.min(TRANSFER_BYTES, read.length - at));
    read.copy(slice, 0, at);
    copy.take(at, slice);
  }
}

const inOrder = (count: number) => [...Array(count).keys()];

describe('a piece', () => {
  it('is written as its extents say, and hashed, in whatever order its slices come', async () => {
    await fc.assert(
      fc.asyncProperty(
        contents,
        fc.nat(BLOCK - 1),
        fc.array(fc.tuple(fc.nat(70 * BLOCK), fc.nat(40 * BLOCK)), { maxLength: 5 }),
        fc.boolean(),
        fc.boolean(),
        async (list, short, extents, targetHasBacking, again) => {
          const content = contentOf(list, short);
          const { length } = content;
          const writes: Extent[] = targetHasBacking
            ? clipExtents(mergeExtents(extents.map(([offset, size]) => ({ offset, length: size }))), length)
            : [{ offset: 0, length }];
          const target = new Target(length);
          const expected = Buffer.from(target.content);
          for (const write of writes)
            content.copy(expected, write.offset, write.offset, write.offset + write.length);
          const copy = new PieceCopy({
            piece: {
              ...{ sequence: 0, offset: OFFSET, length },
              writes: writes.map((write) => ({ ...write, offset: write.offset + OFFSET })),
            },
            target: () => target as unknown as NbdClient,
            targetHasBacking,
            hashing: true,
          });
          // A read that failed in its middle has handed over some.
          if (again) feed(copy, Buffer.alloc(length, 0x55), (count) => inOrder(count).slice(0, count - 1));
          feed(copy, content, (count) => inOrder(count).toReversed());
          const { hashes } = copy;
          const { bytesWritten, bytesZeroed } = await copy.write();

          if (targetHasBacking) expect(target.content.equals(expected)).toBe(true);
          else {
            // Zeros are left out, as whole blocks: the target reads as zeros there.
            for (const [index, kind] of list.entries()) {
              const end = Math.min((index + 1) * BLOCK, length);
              const block = target.content.subarray(index * BLOCK, end);
              if (kind === 'zero') expect(block.equals(Buffer.alloc(block.length, 0xaa))).toBe(true);
              else expect(block.equals(expected.subarray(index * BLOCK, end))).toBe(true);
            }
          }
          expect(bytesWritten + bytesZeroed).toBe(totalLength(writes));
          const found = hashes.flatMap((run) =>
            Array.from({ length: run.count }, (_, at) =>
              run.kind === 'zero' ? 'zero' : run.hashes.subarray(at * 16, at * 16 + 16).toString('hex'),
            ),
          );
          const wanted = list.map((kind, index) =>
            kind === 'zero'
              ? 'zero'
              : hashBlock(content.subarray(index * BLOCK, (index + 1) * BLOCK)).toString('hex'),
          );
          expect(found).toEqual(wanted);
        },
      ),
      { numRuns: 60 },
    );
  });

  it('writes neighbouring slices of data in one request', async () => {
    const requests: number[] = [];
    const target = {
      export: { canWriteZeroes: true },
      writeAndRelease: async (_: number, pieces: readonly Buffer[]) => void requests.push(pieces.length),
    };
    const length = 3 * TRANSFER_BYTES;
    const writes = [{ offset: OFFSET, length }];
    const copy = new PieceCopy({
      piece: { sequence: 0, offset: OFFSET, length, writes },
      target: () => target as unknown as NbdClient,
      targetHasBacking: true,
      hashing: false,
    });
    feed(copy, Buffer.alloc(length, 1), inOrder);
    expect(await copy.write()).toEqual({ bytesWritten: length, bytesZeroed: 0 });
    expect(requests).toEqual([3]);
  });
});
