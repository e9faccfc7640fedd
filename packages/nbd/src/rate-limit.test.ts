import { describe, expect, it } from '@jest/globals';
import { SendenseError } from '@sendense/core';
import fc from 'fast-check';
import { RateLimit, type RateClock } from './index.js';

/** Time that passes only when somebody waits. */
function clockByHand(): RateClock & { time: number } {
  const clock = {
    time: 0,
    now: () => clock.time,
    async wait(ms: number) {
      await Promise.resolve();
      clock.time = Math.max(clock.time, clock.time + ms);
    },
  };
  return clock;
}

describe('the rate limit', () => {
  it('keeps to the rate whatever the sizes are, give or take one burst and one piece', async () => {
    const sizes = fc.array(fc.integer({ min: 1, max: 5000 }), { minLength: 1, maxLength: 200 });
    await fc.assert(
      fc.asyncProperty(sizes, fc.integer({ min: 100, max: 100_000 }), async (pieces, rate) => {
        const clock = clockByHand();
        const limit = new RateLimit(rate, clock);
        let moved = 0;
        for (const bytes of pieces) {
          await limit.take(bytes);
          moved += bytes;
          expect(moved).toBeLessThanOrEqual((clock.time / 1000) * rate + rate * 0.1 + bytes + 1);
        }
        // And it is not slower than it must be.
        expect(clock.time).toBeLessThanOrEqual((moved / rate) * 1000);
      }),
    );
  });

  it('does not let unused time be made up for later', async () => {
    const clock = clockByHand();
    const limit = new RateLimit(1000, clock);
    clock.time = 60_000;
    await limit.take(1000);
    await limit.take(1000);
    await limit.take(1000);
    expect(clock.time).toBe(62_000);
  });

  it('waits no longer than a timer can', async () => {
    const waits: number[] = [];
    const limit = new RateLimit(0.001, { now: () => 0, wait: async (ms) => void waits.push(ms) });
    for (let piece = 0; piece < 2; piece++) await limit.take(2 ** 21);
    expect(waits).toEqual([2 ** 31 - 1]);
  });

  it('serves several takers in turn', async () => {
    const waits: number[] = [];
    const limit = new RateLimit(1000, {
      now: () => 0,
      wait: async (ms) => {
        waits.push(ms);
      },
    });
    await Promise.all([limit.take(1000), limit.take(2000), limit.take(500), limit.take(1)]);
    expect(waits).toEqual([1000, 3000, 3500]);
  });

  it('stops waiting with the reason of the signal', async () => {
    const limit = new RateLimit(1);
    await limit.take(1000);
    const controller = new AbortController();
    const waiting = limit.take(1, controller.signal);
    controller.abort(new SendenseError('cancelled', 'enough'));
    await expect(waiting).rejects.toMatchObject({ code: 'cancelled', message: 'enough' });
  });

  it.each([0, -1, Number.NaN, Number.POSITIVE_INFINITY])('refuses %p bytes per second', (rate) => {
    expect(() => new RateLimit(rate)).toThrow(expect.objectContaining({ code: 'invalid_argument' }));
  });
});
