import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { isWithin, nextToVerify, parseWindow, type VerificationCandidate } from './schedule.js';

/** By the clock on the wall, as the hub sees it. */
const wall = (day: number, hour: number, minute = 0) => new Date(2026, 10, day, hour, minute);
const verified = (id: string, fullyVerifiedAt: Date | undefined): VerificationCandidate => ({
  id,
  state: 'sealed',
  fullyVerifiedAt,
});
const never = (id: string) => verified(id, undefined);

const night = { everyDays: 30, window: parseWindow('22:00-06:00') };
const next = (o: Partial<Parameters<typeof nextToVerify>[0]>) =>
  nextToVerify({ schedule: night, now: wall(21, 23), busy: false, candidates: [never('a')], ...o });

describe('the schedule of verifications', () => {
  it('takes the first point that never was read in full, or not for so long', () => {
    expect(next({ candidates: [never('a'), never('b')] })).toBe('a');
    const now = wall(30, 23);
    expect(next({ now, candidates: [verified('new', wall(2, 23)), verified('old', wall(0, 23))] })).toBe(
      'old',
    );
    expect(next({ now, candidates: [verified('new', wall(2, 23))] })).toBeUndefined();
    expect(next({ candidates: [] })).toBeUndefined();
  });

  it('leaves a point alone that is being removed', () => {
    expect(next({ candidates: [{ ...never('a'), state: 'removing' }, never('b')] })).toBe('b');
  });

  it('waits while backups run or another verification does', () => {
    expect(next({ busy: true })).toBeUndefined();
  });

  it('is off with 0 days', () => {
    expect(next({ schedule: { ...night, everyDays: 0 } })).toBeUndefined();
  });

  it('keeps to its window, also over midnight, by local time', () => {
    const at = (now: Date) => next({ now });
    expect([wall(21, 22), wall(21, 23, 59), wall(22, 0), wall(22, 5, 59)].map(at)).toEqual(
      Array(4).fill('a'),
    );
    expect([wall(21, 21, 59), wall(22, 6), wall(22, 12)].map(at)).toEqual(Array(3).fill(undefined));
    const noon = { everyDays: 30, window: parseWindow('11:30-12:00') };
    expect(next({ schedule: noon, now: wall(21, 11, 30) })).toBe('a');
    expect(next({ schedule: noon, now: wall(21, 12) })).toBeUndefined();
    expect(next({ schedule: { everyDays: 30, window: undefined }, now: wall(21, 12) })).toBe('a');
  });

  it.each(['', '22-6', '25:00-06:00', '22:00-06:60', '22:00-22:00', '10:00-24:01', 'always'])(
    'refuses the window %j',
    (text) => {
      expect(() => parseWindow(text)).toThrow(expect.objectContaining({ code: 'invalid_config' }));
    },
  );

  it('has every minute of the day in a window or in the one that is the rest of the day', () => {
    const clock = fc.tuple(fc.nat(23), fc.nat(59));
    const text = ([hour, minute]: [number, number]) =>
      `${String(hour).padStart(2, '0')}:${String(minute).padStart(2, '0')}`;
    fc.assert(
      fc.property(clock, clock, clock, (from, to, at) => {
        fc.pre(text(from) !== text(to));
        const now = wall(21, at[0], at[1]);
        const [window, rest] = [
          parseWindow(`${text(from)}-${text(to)}`),
          parseWindow(`${text(to)}-${text(from)}`),
        ];
        expect(isWithin(window, now)).toBe(!isWithin(rest, now));
      }),
    );
  });
});
