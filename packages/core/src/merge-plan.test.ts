import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { planMerge } from './merge-plan.js';

const MIB = 2 ** 20;

describe('planMerge', () => {
  it.each([
    ['a small increment goes into its full', 1000, 10, true, 'commit', 10],
    ['a small full goes into a large increment', 10, 1000, true, 'pull', 10],
    ['an increment goes into the smaller change', 1000, 10, false, 'commit', 10],
    ['a smaller increment is pulled', 10, 1000, false, 'pull', 10],
    ['at equal cost a full stays the file it is', 500, 500, true, 'commit', 500],
    ['at equal cost an increment is pulled, which can be cancelled', 500, 500, false, 'pull', 500],
  ] as const)('%s', (_, parent, child, parentIsFull, method, mib) => {
    const plan = planMerge({
      parentStoredBytes: parent * MIB,
      childStoredBytes: child * MIB,
      parentIsFull,
      freeBytes: 10_000 * MIB,
    });
    expect(plan).toMatchObject({ method, bytesToCopy: mib * MIB, fits: true });
  });

  it('copies no more than the other way would, and needs room for it, its hashes and some tables', () => {
    const bytes = fc.nat(2 ** 45);
    fc.assert(
      fc.property(bytes, bytes, fc.boolean(), bytes, (parent, child, parentIsFull, freeBytes) => {
        const plan = planMerge({
          parentStoredBytes: parent,
          childStoredBytes: child,
          parentIsFull,
          freeBytes,
        });
        expect(plan.bytesToCopy).toBe(Math.min(parent, child));
        expect(plan.bytesNeeded).toBe(plan.bytesToCopy + Math.ceil((parent + child) / 4096) + MIB);
        expect(plan.fits).toBe(freeBytes >= plan.bytesNeeded);
      }),
    );
  });
});
