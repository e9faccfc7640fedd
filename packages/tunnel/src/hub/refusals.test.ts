import { describe, expect, it } from '@jest/globals';
import type { Refusal } from './policy.js';
import { RefusalReport } from './refusals.js';

const refusal = (remoteAddress: string, detail = 'x'): Refusal => ({
  what: 'channel',
  detail,
  remoteAddress,
});

function report() {
  const reported: Refusal[] = [];
  const clock = { now: 0 };
  return {
    reported,
    clock,
    refusals: new RefusalReport(
      (event) => reported.push(event),
      () => clock.now,
    ),
  };
}

describe('refusals', () => {
  it('are reported one by one while they are few', () => {
    const { reported, refusals } = report();
    for (let count = 0; count < 20; count++) refusals.add(refusal('10.0.0.1', String(count)));
    expect(reported.map(({ detail }) => Number(detail))).toEqual(
      Array.from({ length: 20 }, (_, index) => index),
    );
    refusals[Symbol.dispose]();
    expect(reported).toHaveLength(20);
  });

  it('in a flood are its first few and a count, and the others are still heard', () => {
    const { reported, refusals } = report();
    for (let count = 0; count < 10_000; count++) refusals.add(refusal('10.0.0.1'));
    refusals.add(refusal('10.0.0.2'));
    refusals[Symbol.dispose]();
    expect(reported).toHaveLength(22);
    expect(reported.at(-2)).toEqual(refusal('10.0.0.2'));
    expect(reported.at(-1)).toMatchObject({
      remoteAddress: '10.0.0.1',
      detail: '9980 more refusals that are not listed',
    });
    expect(refusals.total).toBe(10_001);
  });

  it('from everywhere at once stay within the whole’s bound', () => {
    const { reported, clock, refusals } = report();
    for (let count = 0; count < 5000; count++) {
      clock.now += 1;
      refusals.add(refusal(`10.0.${count >> 8}.${count & 255}`));
    }
    expect(reported.length).toBeLessThanOrEqual(200 + 5 * 5 + 1);
    const before = reported.length;
    refusals[Symbol.dispose]();
    expect(reported.length - before).toBeLessThanOrEqual(21);
    expect(refusals.total).toBe(5000);
  });

  it('are reported again once it is quiet', () => {
    const { reported, clock, refusals } = report();
    for (let count = 0; count < 100; count++) refusals.add(refusal('10.0.0.1'));
    clock.now += 60_000;
    refusals.add(refusal('10.0.0.1', 'later'));
    expect(reported.at(-1)?.detail).toBe('later');
    refusals[Symbol.dispose]();
  });
});
