import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { mergeExtents } from '@sendense/core';
import { untouched } from './audit.js';

const BLOCK = 65_536;

describe('the blocks of an audit', () => {
  it('are left out when an area touches them, be it with one byte', () => {
    const areas = [
      { offset: 2 * BLOCK - 1, length: 2 },
      { offset: 5 * BLOCK, length: BLOCK },
      { offset: 9 * BLOCK + 100, length: 1 },
    ];
    expect(untouched([0, 1, 2, 3, 4, 5, 6, 8, 9, 10], areas)).toEqual([0, 3, 4, 6, 8, 10]);
    expect(untouched([], areas)).toEqual([]);
    expect(untouched([0, 7], [])).toEqual([0, 7]);
    expect(untouched([0, 7, 100], [{ offset: 0, length: 8 * BLOCK }])).toEqual([100]);
  });

  it('are those that a slow and obvious check leaves', () => {
    const area = fc.record({ offset: fc.nat(40 * BLOCK), length: fc.nat(3 * BLOCK) });
    fc.assert(
      fc.property(fc.array(area), fc.uniqueArray(fc.nat(45)), (given, numbers) => {
        const areas = mergeExtents(given);
        const blocks = numbers.toSorted((a, b) => a - b);
        const obvious = blocks.filter((block) =>
          areas.every(
            ({ offset, length }) => offset + length <= block * BLOCK || offset >= (block + 1) * BLOCK,
          ),
        );
        expect(untouched(blocks, areas)).toEqual(obvious);
      }),
    );
  });
});
