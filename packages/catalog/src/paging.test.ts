import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { pagePosition, toPage } from './paging.js';

describe('cursors', () => {
  it('come back as the position that they were made of', () => {
    fc.assert(
      fc.property(fc.date({ noInvalidDate: true }), fc.string({ minLength: 1 }), (at, text) => {
        const id = `backup-${text.toWellFormed()}`;
        const { nextCursor } = toPage([1, 2], 1, () => ({ at, id }), String);
        expect(pagePosition({ cursor: nextCursor! })).toEqual({ at, id });
      }),
    );
  });

  it('of anybody else are refused, whatever they are', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.base64String(), fc.string({ unit: 'binary' })), (cursor) => {
        expect(() => pagePosition({ cursor })).toThrow(expect.objectContaining({ code: 'invalid_argument' }));
      }),
      { numRuns: 1000 },
    );
  });

  it('are given only when there is more', () => {
    const page = (rows: number[]) => toPage(rows, 2, () => ({ at: new Date(), id: 'x' }), String);
    expect(page([])).toEqual({ items: [], nextCursor: undefined });
    expect(page([1, 2])).toEqual({ items: ['1', '2'], nextCursor: undefined });
    expect(page([1, 2, 3])).toEqual({ items: ['1', '2'], nextCursor: expect.any(String) });
  });
});
