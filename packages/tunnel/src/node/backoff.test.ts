import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { Backoff } from './backoff.js';

const TIMING = { backoffMinMs: 500, backoffMaxMs: 30_000, stableAfterMs: 10_000 };
const failed = { lastedMs: 0, retryable: true };

describe('the wait before the next attempt', () => {
  it('doubles up to its limit', () => {
    const backoff = new Backoff(TIMING, () => 1);
    const waits = Array.from({ length: 8 }, () => backoff.next(failed));
    expect(waits).toEqual([500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
  });

  it('starts afresh after a connection that lasted, not after one that did not', () => {
    const backoff = new Backoff(TIMING, () => 1);
    for (let count = 0; count < 5; count++) backoff.next(failed);
    expect(backoff.next({ lastedMs: 9999, retryable: true })).toBe(16_000);
    expect(backoff.next({ lastedMs: 10_000, retryable: true })).toBe(500);
  });

  it('is long at once when somebody has to act', () => {
    expect(new Backoff(TIMING, () => 1).next({ lastedMs: 0, retryable: false })).toBe(30_000);
  });

  it('is always between half and the whole of its step', () => {
    fc.assert(
      fc.property(fc.nat(100), fc.double({ min: 0, max: 1, noNaN: true }), (failures, random) => {
        const backoff = new Backoff(TIMING, () => random);
        for (let count = 0; count < failures; count++) backoff.next(failed);
        const waitMs = backoff.next(failed);
        expect(waitMs).toBeGreaterThanOrEqual(250);
        expect(waitMs).toBeLessThanOrEqual(30_000);
      }),
    );
  });
});
