import { describe, expect, it } from '@jest/globals';
import { alignExtents, clipExtents, mergeExtents, totalLength, type Extent } from '@sendense/core';
import fc from 'fast-check';
import { HASH_BLOCK_BYTES, bytesToRead } from '../index.js';
import { cutPieces, type Piece } from './pieces.js';
import { cutWrites, findZeroBlocks, hashRuns } from './scan.js';

const BLOCK = HASH_BLOCK_BYTES;
// Offsets near block boundaries matter most.
const position = fc
  .tuple(fc.nat(40), fc.oneof(fc.constantFrom(-1, 0, 1, 511, 512), fc.nat(BLOCK)))
  .map(([block, shift]) => Math.max(0, block * BLOCK + shift));
const extent = fc
  .tuple(position, fc.oneof(fc.constantFrom(0, 1, 512, BLOCK), fc.nat(5 * BLOCK)))
  .map(([offset, length]): Extent => ({ offset, length }));
const extents = fc.array(extent, { maxLength: 20 });
const size = fc
  .tuple(fc.integer({ min: 1, max: 40 }), fc.nat(BLOCK - 1))
  .map(([blocks, short]) => blocks * BLOCK - short);
const pieceBytes = fc.constantFrom(BLOCK, 3 * BLOCK, 16 * BLOCK);

describe('pieces', () => {
  it('read each block that an extent touches, once, whole, and no other', () => {
    fc.assert(
      fc.property(extents, size, pieceBytes, fc.boolean(), (list, sizeBytes, most, exactly) => {
        const pieces = [...cutPieces(list, { sizeBytes, pieceBytes: most, exactly })];
        expect(mergeExtents(pieces)).toEqual(alignExtents(list, BLOCK, sizeBytes));
        expect(totalLength(pieces)).toBe(bytesToRead(list, sizeBytes));
        expect(pieces.map((piece) => piece.sequence)).toEqual(pieces.map((_, index) => index));
        for (const piece of pieces) {
          expect(piece.length).toBeLessThanOrEqual(most);
          expect(piece.offset % BLOCK).toBe(0);
          const end = piece.offset + piece.length;
          expect(end % BLOCK === 0 || end === sizeBytes).toBe(true);
        }
      }),
    );
  });

  it('write exactly the extents, or whole blocks', () => {
    fc.assert(
      fc.property(extents, size, pieceBytes, fc.boolean(), (list, sizeBytes, most, exactly) => {
        const pieces = [...cutPieces(list, { sizeBytes, pieceBytes: most, exactly })];
        const writes = pieces.flatMap((piece) => piece.writes);
        const wanted = exactly
          ? clipExtents(mergeExtents(list), sizeBytes)
          : alignExtents(list, BLOCK, sizeBytes);
        expect(mergeExtents(writes)).toEqual(wanted);
        expect(totalLength(writes)).toBe(totalLength(wanted));
        for (const piece of pieces) {
          expect(piece.writes.length).toBeGreaterThan(0);
          for (const write of piece.writes) {
            expect(write.length).toBeGreaterThan(0);
            expect(write.offset).toBeGreaterThanOrEqual(piece.offset);
            expect(write.offset + write.length).toBeLessThanOrEqual(piece.offset + piece.length);
          }
        }
      }),
    );
  });

  it('of 50 000 scattered extents are cut quickly', () => {
    const list = Array.from({ length: 50_000 }, (_, index) => ({
      offset: index * 3 * BLOCK + 512,
      length: 1024,
    }));
    const pieces = [...cutPieces(list, { sizeBytes: 2 ** 40, pieceBytes: 16 * BLOCK, exactly: true })];
    expect(pieces.length).toBe(50_000);
  });
});

describe('a piece that was read', () => {
  /** Blocks of zeros, of data, and of zeros with one other byte at the very end. */
  const blocks = fc.array(fc.constantFrom('zero', 'data', 'almost'), { minLength: 1, maxLength: 16 });

  it('is cut where blocks of zeros begin and end, each block with its hash', () => {
    fc.assert(
      fc.property(blocks, fc.nat(BLOCK - 1), fc.nat(100), (kinds, short, firstBlock) => {
        const length = kinds.length * BLOCK - short;
        const data = Buffer.alloc(length);
        for (const [index, kind] of kinds.entries()) {
          const end = Math.min((index + 1) * BLOCK, length);
          if (kind === 'data') data.fill(index + 1, index * BLOCK, end);
          if (kind === 'almost') data[end - 1] = 1;
        }
        const offset = firstBlock * BLOCK;
        const piece: Piece = { sequence: 0, offset, length, writes: [{ offset, length }] };
        const runs = findZeroBlocks(piece, data);
        expect(totalLength(runs)).toBe(length);
        const found = runs.flatMap((run) =>
          Array.from({ length: Math.ceil(run.length / BLOCK) }, () => run.zero),
        );
        expect(found).toEqual(kinds.map((kind) => kind === 'zero'));
        for (const run of hashRuns(runs, piece, data)) {
          expect(run.kind).toBe(kinds[run.firstBlock - firstBlock] === 'zero' ? 'zero' : 'data');
        }
      }),
      { numRuns: 50 },
    );
  });

  it('is written where the extents say, as zeros where whole blocks are zero', () => {
    fc.assert(
      fc.property(extents, blocks, (list, kinds) => {
        const length = kinds.length * BLOCK;
        const writes = clipExtents(mergeExtents(list), length);
        const data = Buffer.alloc(length);
        for (const [index, kind] of kinds.entries()) if (kind !== 'zero') data[index * BLOCK] = 1;
        const parts = [...cutWrites(writes, findZeroBlocks({ offset: 0, length }, data))];
        expect(mergeExtents(parts)).toEqual(writes);
        expect(totalLength(parts)).toBe(totalLength(writes));
        for (const part of parts) {
          const first = Math.floor(part.offset / BLOCK);
          const last = Math.floor((part.offset + part.length - 1) / BLOCK);
          const inside = kinds.slice(first, last + 1);
          expect(inside.every((kind) => (kind === 'zero') === part.zero)).toBe(true);
        }
      }),
    );
  });
});
