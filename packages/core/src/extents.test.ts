import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import {
  alignExtents,
  clipExtents,
  mergeExtents,
  splitExtents,
  totalLength,
  type Extent,
} from './extents.js';

const extents = fc.array(fc.record({ offset: fc.nat(500), length: fc.nat(60) }), { maxLength: 30 });
const bytesOf = (list: Iterable<Extent>) => {
  const bytes = new Set<number>();
  for (const { offset, length } of list) for (let at = offset; at < offset + length; at++) bytes.add(at);
  return bytes;
};

describe('extents', () => {
  it('merging keeps exactly the same bytes, ascending and disjoint', () => {
    fc.assert(
      fc.property(extents, (list) => {
        const merged = mergeExtents(list);
        expect(bytesOf(merged)).toEqual(bytesOf(list));
        expect(totalLength(merged)).toBe(bytesOf(list).size);
        for (const [index, extent] of merged.entries()) {
          const next = merged[index + 1];
          if (next) expect(extent.offset + extent.length).toBeLessThan(next.offset);
        }
      }),
    );
  });

  it('aligning contains every byte, starts and ends on blocks or at the size', () => {
    fc.assert(
      fc.property(extents, fc.integer({ min: 1, max: 600 }), (list, size) => {
        const aligned = alignExtents(list, 16, size);
        const inside = bytesOf(aligned);
        for (const byte of bytesOf(clipExtents(mergeExtents(list), size)))
          expect(inside.has(byte)).toBe(true);
        for (const { offset, length } of aligned) {
          expect(offset % 16).toBe(0);
          const end = offset + length;
          expect(end === size || end % 16 === 0).toBe(true);
        }
      }),
    );
  });

  it('splitting keeps the bytes and never crosses a piece boundary', () => {
    fc.assert(
      fc.property(extents, (list) => {
        const merged = mergeExtents(list);
        const pieces = [...splitExtents(merged, 32)];
        expect(totalLength(pieces)).toBe(totalLength(merged));
        expect(bytesOf(pieces)).toEqual(bytesOf(merged));
        for (const { offset, length } of pieces) {
          expect(length).toBeGreaterThan(0);
          expect(Math.floor(offset / 32)).toBe(Math.floor((offset + length - 1) / 32));
        }
      }),
    );
  });
});
