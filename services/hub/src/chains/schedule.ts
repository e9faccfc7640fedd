import type { RestorePointRecord } from '@sendense/catalog';
import { SendenseError } from '@sendense/core';

/** When points are verified without anybody asking. */
export interface VerifySchedule {
  /** A point is read in full again after so many days; 0: never. */
  readonly everyDays: number;
  /** In the hub's local time; undefined: at any time. */
  readonly window: DailyWindow | undefined;
  /** 0 is unlimited. */
  readonly rateLimitBytesPerSecond: number;
}

/** A stretch of every day, in minutes since midnight; one that ends before it begins goes over midnight. */
export interface DailyWindow {
  readonly fromMinute: number;
  readonly toMinute: number;
}

const DAY_MS = 86_400_000;

/** Reads `22:00-06:00`. @throws `invalid_config` */
export function parseWindow(text: string): DailyWindow {
  const match = /^([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]|24):([0-5]\d)$/.exec(text);
  const [fromHour = NaN, fromMin = NaN, toHour = NaN, toMin = NaN] = (match ?? []).slice(1).map(Number);
  const window = { fromMinute: fromHour * 60 + fromMin, toMinute: toHour * 60 + toMin };
  if (match && window.toMinute <= 24 * 60 && window.fromMinute !== window.toMinute) return window;
  throw new SendenseError(
    'invalid_config',
    `SENDENSE_VERIFY_WINDOW is '${text}': expected from when to when, HH:MM-HH:MM, for example 22:00-06:00`,
  );
}

/** Whether this instant is in the window, by the clock on the wall here. */
export function isWithin({ fromMinute, toMinute }: DailyWindow, at: Date): boolean {
  const minute = at.getHours() * 60 + at.getMinutes();
  return fromMinute < toMinute
    ? minute >= fromMinute && minute < toMinute
    : minute >= fromMinute || minute < toMinute;
}

export type VerificationCandidate = Pick<RestorePointRecord, 'id' | 'state' | 'fullyVerifiedAt'>;

/**
 * The point whose turn it is to be read in full, if any: the first of those that never were, or not for so many days.
 *
 * @param candidates the longest unverified first
 * @param busy whether a backup runs or waits, or a verification runs already: verifying is for quiet time, one at a time
 */
export function nextToVerify(o: {
  readonly schedule: Pick<VerifySchedule, 'everyDays' | 'window'>;
  readonly now: Date;
  readonly busy: boolean;
  readonly candidates: readonly VerificationCandidate[];
}): string | undefined {
  const { schedule, now, busy, candidates } = o;
  if (busy || schedule.everyDays === 0) return undefined;
  if (schedule.window && !isWithin(schedule.window, now)) return undefined;
  const due = now.getTime() - schedule.everyDays * DAY_MS;
  return candidates.find(
    ({ state, fullyVerifiedAt: at }) => state === 'sealed' && (at === undefined || at.getTime() <= due),
  )?.id;
}
