import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import {
  applyRetention,
  checkRetentionPolicy,
  type RetentionDecision,
  type RetentionPoint,
  type RetentionPolicy,
} from './retention.js';

const NOTHING: RetentionPolicy = { keepLast: 0, daily: 0, weekly: 0, monthly: 0, yearly: 0 };

/** A point named by its time; `!` marks a suspect one, `+` a held one. */
function point(text: string): RetentionPoint {
  const id = text.replace(/[!+]/g, '');
  const time = id.length > 10 ? id : `${id}T12:00`;
  return { id, takenAt: new Date(`${time}Z`), held: text.includes('+'), suspect: text.includes('!') };
}

/** `2026-11-21: last 1 of 2, daily 2026-11-21`, for those that stay. */
function kept(policy: Partial<RetentionPolicy>, ...points: string[]): string[] {
  return applyRetention({ ...NOTHING, ...policy }, points.map(point))
    .filter(({ keep }) => keep)
    .map(({ id, reasons }) => `${id}: ${reasons.map((r) => `${r.reason} ${r.detail}`).join(', ')}`);
}

const ids = (decisions: readonly RetentionDecision[]) =>
  decisions.filter(({ keep }) => keep).map(({ id }) => id);

describe('applyRetention', () => {
  it('keeps everything without a policy, and says so', () => {
    const decisions = applyRetention(undefined, ['2026-11-20', '2026-11-21+'].map(point));
    expect(decisions).toEqual([
      {
        id: '2026-11-21',
        keep: true,
        reasons: [
          { reason: 'no_policy', detail: 'no retention policy is set' },
          { reason: 'held', detail: 'until it is released' },
          { reason: 'newest', detail: 'the newest good one' },
        ],
      },
      {
        id: '2026-11-20',
        keep: true,
        reasons: [{ reason: 'no_policy', detail: 'no retention policy is set' }],
      },
    ]);
  });

  it('decides on nothing when there is nothing', () => {
    expect(applyRetention({ ...NOTHING, keepLast: 3 }, [])).toEqual([]);
  });

  it('keeps the newest good point and held ones when every rule is off', () => {
    expect(kept({}, '2026-11-19+', '2026-11-20', '2026-11-21', '2026-11-22!')).toEqual([
      '2026-11-21: newest the newest good one',
      '2026-11-19: held until it is released',
    ]);
  });

  it('keeps the newest point when none is good', () => {
    expect(kept({}, '2026-11-20!', '2026-11-21!')).toEqual(['2026-11-21: newest none of them is good']);
  });

  it('lists the decisions newest first, with all reasons, and none for what goes', () => {
    const decisions = applyRetention({ ...NOTHING, keepLast: 1, daily: 1, yearly: 2 }, [
      ...['2025-03-01', '2026-11-21T23:59', '2026-11-20'].map(point),
    ]);
    expect(decisions).toEqual([
      {
        id: '2026-11-21T23:59',
        keep: true,
        reasons: [
          { reason: 'last', detail: '1 of 1' },
          { reason: 'daily', detail: '2026-11-21' },
          { reason: 'yearly', detail: '2026' },
          { reason: 'newest', detail: 'the newest good one' },
        ],
      },
      { id: '2026-11-20', keep: false, reasons: [] },
      { id: '2025-03-01', keep: true, reasons: [{ reason: 'yearly', detail: '2025' }] },
    ]);
  });

  it('counts days that have a point, and keeps the newest of each', () => {
    expect(
      kept({ daily: 2 }, '2026-11-01T08:00', '2026-11-01T09:00', '2026-11-20T08:00', '2026-11-20T09:00'),
    ).toEqual([
      '2026-11-20T09:00: daily 2026-11-20, newest the newest good one',
      '2026-11-01T09:00: daily 2026-11-01',
    ]);
  });

  it.each([
    ['UTC', '2026-11-22'],
    ['Europe/Vienna', '2026-11-23'],
    ['America/Los_Angeles', '2026-11-22'],
    ['Pacific/Kiritimati', '2026-11-23'],
  ])('begins a day when %s does', (timeZone, day) => {
    expect(kept({ daily: 1, timeZone }, '2026-11-22T23:30')).toEqual([
      `2026-11-22T23:30: daily ${day}, newest the newest good one`,
    ]);
  });

  it('keeps the days of a change to and from summer time apart', () => {
    const timeZone = 'Europe/Vienna';
    // 25 October 2026 has 25 hours there, 29 March 2026 has 23.
    const october = ['2026-10-24T21:59', '2026-10-24T22:00', '2026-10-25T22:59', '2026-10-25T23:00'];
    expect(kept({ daily: 9, timeZone }, ...october).map((line) => line.slice(0, 40))).toEqual([
      '2026-10-25T23:00: daily 2026-10-26, newe',
      '2026-10-25T22:59: daily 2026-10-25',
      '2026-10-24T21:59: daily 2026-10-24',
    ]);
    const march = ['2026-03-28T22:59', '2026-03-28T23:00', '2026-03-29T21:59', '2026-03-29T22:00'];
    expect(kept({ daily: 9, timeZone }, ...march).map((line) => line.slice(0, 40))).toEqual([
      '2026-03-29T22:00: daily 2026-03-30, newe',
      '2026-03-29T21:59: daily 2026-03-29',
      '2026-03-28T22:59: daily 2026-03-28',
    ]);
  });

  // https://en.wikipedia.org/wiki/ISO_week_date: the week with the year's first Thursday is its first.
  it.each([
    ['2026-11-21', '2026-W47'],
    ['2026-01-01', '2026-W01'],
    ['2025-12-29', '2026-W01'],
    ['2025-12-28', '2025-W52'],
    ['2027-01-03', '2026-W53'],
    ['2027-01-04', '2027-W01'],
    ['2024-12-30', '2025-W01'],
    ['2005-01-01', '2004-W53'],
    ['2008-12-28', '2008-W52'],
    ['2010-01-03', '2009-W53'],
  ])('%s is in week %s', (day, week) => {
    expect(kept({ weekly: 1 }, day)).toEqual([`${day}: weekly ${week}, newest the newest good one`]);
  });

  it('keeps the newest of each week from Monday to Sunday, each month and each year', () => {
    expect(kept({ weekly: 2 }, '2026-11-15', '2026-11-16', '2026-11-22')).toEqual([
      '2026-11-22: weekly 2026-W47, newest the newest good one',
      '2026-11-15: weekly 2026-W46',
    ]);
    expect(kept({ monthly: 2, yearly: 2 }, '2025-12-31', '2026-01-01', '2026-01-31')).toEqual([
      '2026-01-31: monthly 2026-01, yearly 2026, newest the newest good one',
      '2025-12-31: monthly 2025-12, yearly 2025',
    ]);
  });

  it('gives a suspect point no slot, and keeps it as long as a good one in its place would stay', () => {
    expect(kept({ keepLast: 2 }, '2026-11-18!', '2026-11-19', '2026-11-20!', '2026-11-21')).toEqual([
      '2026-11-21: last 1 of 2, newest the newest good one',
      '2026-11-20: last suspect, beside the 2',
      '2026-11-19: last 2 of 2',
    ]);
    expect(kept({ daily: 2 }, '2026-11-19', '2026-11-20', '2026-11-21T08:00', '2026-11-21T09:00!')).toEqual([
      '2026-11-21T09:00: daily 2026-11-21',
      '2026-11-21T08:00: daily 2026-11-21, newest the newest good one',
      '2026-11-20: daily 2026-11-20',
    ]);
  });

  it.each([
    { keepLast: -1 },
    { daily: 1.5 },
    { weekly: Number.NaN },
    { timeZone: 'Atlantis' },
    { timeZone: '' },
  ])('refuses %p', (wrong) => {
    const policy = { ...NOTHING, ...wrong };
    const refusal = expect.objectContaining({ code: 'invalid_argument' });
    expect(() => checkRetentionPolicy(policy)).toThrow(refusal);
    expect(() => applyRetention(policy, [point('2026-11-21')])).toThrow(refusal);
  });
});

describe('any policy on any points', () => {
  const count = fc.nat(4);
  const policies = fc.record({
    keepLast: count,
    daily: count,
    weekly: count,
    monthly: count,
    yearly: count,
    timeZone: fc.constantFrom('UTC', 'Europe/Vienna', 'Asia/Kathmandu', 'America/St_Johns'),
  });
  const minutes = fc.oneof(fc.nat(10 * 1440), fc.nat(1000 * 1440));
  const points = fc
    .array(fc.record({ minutes, held: fc.boolean(), suspect: fc.boolean() }), { minLength: 1, maxLength: 30 })
    .map((list) =>
      list.map(({ minutes: at, ...rest }, index): RetentionPoint => {
        return { id: `point-${index}`, takenAt: new Date(Date.UTC(2025, 0, 1, 0, at)), ...rest };
      }),
    );

  it('keeps something, every held point and the newest good one, and gives a reason for what it keeps', () => {
    fc.assert(
      fc.property(policies, points, (policy, list) => {
        const decisions = applyRetention(policy, list);
        expect(decisions.map(({ id }) => id).toSorted()).toEqual(list.map(({ id }) => id).toSorted());
        const stay = new Set(ids(decisions));
        expect(stay.size).toBeGreaterThan(0);
        for (const { id, held } of list) if (held) expect(stay).toContain(id);
        const good = list.filter(({ suspect }) => !suspect);
        const last = Math.max(...good.map(({ takenAt }) => takenAt.getTime()));
        if (good.length > 0)
          expect(good.some(({ id, takenAt }) => takenAt.getTime() === last && stay.has(id))).toBe(true);
        for (const { keep, reasons } of decisions) expect(reasons.length > 0).toBe(keep);
      }),
    );
  });

  it('keeps no less when it counts higher', () => {
    const rules = fc.constantFrom('keepLast', 'daily', 'weekly', 'monthly', 'yearly');
    fc.assert(
      fc.property(policies, points, rules, fc.integer({ min: 1, max: 3 }), (policy, list, rule, more) => {
        const stay = new Set(ids(applyRetention({ ...policy, [rule]: policy[rule] + more }, list)));
        for (const id of ids(applyRetention(policy, list))) expect(stay).toContain(id);
      }),
    );
  });

  it('keeps all of what it kept when it is applied again', () => {
    fc.assert(
      fc.property(policies, points, (policy, list) => {
        const stay = ids(applyRetention(policy, list));
        const left = list.filter(({ id }) => stay.includes(id));
        expect(ids(applyRetention(policy, left))).toEqual(stay);
      }),
    );
  });

  it('keeps the same good points whether suspect ones are there or not', () => {
    fc.assert(
      fc.property(policies, points, (policy, list) => {
        const good = list.filter(({ suspect }) => !suspect);
        const stay = ids(applyRetention(policy, list)).filter((id) => good.some((other) => other.id === id));
        expect(ids(applyRetention(policy, good))).toEqual(stay);
      }),
    );
  });
});
