import { SendenseError } from './errors.js';

/** How many points to keep, by each rule; a point stays when any rule keeps it. 0 turns a rule off. */
export interface RetentionPolicy {
  /** The newest so many points. */
  readonly keepLast: number;
  /** The newest point of each of the newest so many days that have one; weeks (ISO 8601), months and years likewise. */
  readonly daily: number;
  readonly weekly: number;
  readonly monthly: number;
  readonly yearly: number;
  /** IANA name: where a day begins. @default 'UTC' */
  readonly timeZone?: string | undefined;
}

export interface RetentionPoint {
  readonly id: string;
  readonly takenAt: Date;
  readonly held: boolean;
  readonly suspect: boolean;
}

/** `no_policy`: nothing says what to remove, so everything stays. */
export type KeepReason = 'last' | 'daily' | 'weekly' | 'monthly' | 'yearly' | 'held' | 'newest' | 'no_policy';

export interface RetentionDecision {
  readonly id: string;
  readonly keep: boolean;
  /** All that apply; empty for a point that is to be removed. `detail` is the period, `2026-W47`, or words. */
  readonly reasons: readonly { readonly reason: KeepReason; readonly detail: string }[];
}

/** A calendar day. */
interface Day {
  readonly year: number;
  readonly month: number;
  readonly day: number;
}

type Calendar = (at: Date) => Day;

const DAY_MS = 86_400_000;
const COUNTS = ['keepLast', 'daily', 'weekly', 'monthly', 'yearly'] as const;

const PERIODS = {
  daily: ({ year, month, day }: Day) => `${year}-${two(month)}-${two(day)}`,
  weekly: isoWeek,
  monthly: ({ year, month }: Day) => `${year}-${two(month)}`,
  yearly: ({ year }: Day) => `${year}`,
} as const satisfies Record<string, (day: Day) => string>;

/**
 * Which points of one VM in one repository stay, newest first, with every reason. Without a policy all stay.
 *
 * Held points and the newest good one always stay. A suspect point takes no slot: good points count as if it were not
 * there, and it stays as long as a good point in its place would, because damage in a part of it does not make the rest
 * worthless.
 *
 * @throws `invalid_argument` as {@link checkRetentionPolicy}
 */
export function applyRetention(
  policy: RetentionPolicy | undefined,
  points: readonly RetentionPoint[],
): RetentionDecision[] {
  const newestFirst = points.toSorted(
    (a, b) => b.takenAt.getTime() - a.takenAt.getTime() || (a.id < b.id ? 1 : -1),
  );
  const newest = newestFirst.find(({ suspect }) => !suspect) ?? newestFirst[0];
  const rules = policy ? rulesOf(policy) : [keepAll];
  return newestFirst.map((point) => {
    const reasons = rules.flatMap((rule) => rule(point) ?? []);
    if (point.held) reasons.push({ reason: 'held', detail: 'until it is released' });
    if (point === newest)
      reasons.push({
        reason: 'newest',
        detail: point.suspect ? 'none of them is good' : 'the newest good one',
      });
    return { id: point.id, keep: reasons.length > 0, reasons };
  });
}

/** @throws `invalid_argument` for counts that are no whole numbers from 0 on, and for unknown time zones */
export function checkRetentionPolicy(policy: RetentionPolicy): void {
  for (const name of COUNTS) {
    if (!Number.isSafeInteger(policy[name]) || policy[name] < 0)
      throw new SendenseError(
        'invalid_argument',
        `a retention policy counts restore points in whole numbers from 0 on: ${name} is ${policy[name]}`,
      );
  }
  calendarOf(policy.timeZone);
}

/** Asked once for each point, newest first. */
type Rule = (point: RetentionPoint) => RetentionDecision['reasons'][number] | undefined;

const keepAll: Rule = () => ({ reason: 'no_policy', detail: 'no retention policy is set' });

function rulesOf(policy: RetentionPolicy): Rule[] {
  checkRetentionPolicy(policy);
  const calendar = remembering(calendarOf(policy.timeZone));
  const periods = (['daily', 'weekly', 'monthly', 'yearly'] as const).map((reason) =>
    periodRule(reason, policy[reason], calendar),
  );
  return [lastRule(policy.keepLast), ...periods];
}

function lastRule(count: number): Rule {
  let kept = 0;
  return ({ suspect }) => {
    if (kept >= count) return undefined;
    if (suspect) return { reason: 'last', detail: `suspect, beside the ${count}` };
    return { reason: 'last', detail: `${++kept} of ${count}` };
  };
}

function periodRule(reason: keyof typeof PERIODS, count: number, calendar: Calendar): Rule {
  const good = new Set<string>();
  const suspects = new Set<string>();
  return ({ takenAt, suspect }) => {
    if (good.size >= count) return undefined;
    const detail = PERIODS[reason](calendar(takenAt));
    if (good.has(detail) || (suspect && suspects.has(detail))) return undefined;
    (suspect ? suspects : good).add(detail);
    return { reason, detail };
  };
}

function calendarOf(timeZone = 'UTC'): Calendar {
  // The one that nearly everybody has, without a formatter, which takes half a millisecond to make.
  if (timeZone === 'UTC')
    return (at) => ({ year: at.getUTCFullYear(), month: at.getUTCMonth() + 1, day: at.getUTCDate() });
  let format: Intl.DateTimeFormat;
  try {
    format = new Intl.DateTimeFormat('en-u-ca-gregory-nu-latn', {
      timeZone,
      year: 'numeric',
      month: 'numeric',
      day: 'numeric',
    });
  } catch (error) {
    throw new SendenseError(
      'invalid_argument',
      `time_zone ${JSON.stringify(timeZone)} is not known: give an IANA name like Europe/Vienna, or UTC`,
      { cause: error, context: { fields: 'time_zone' } },
    );
  }
  return (at) => {
    const parts = format.formatToParts(at);
    const number = (type: string) => Number(parts.find((part) => part.type === type)?.value);
    return { year: number('year'), month: number('month'), day: number('day') };
  };
}

/** Each rule asks for the same days again, and a calendar takes its time. */
function remembering(calendar: Calendar): Calendar {
  const days = new Map<number, Day>();
  return (at) => {
    const known = days.get(at.getTime());
    if (known) return known;
    const day = calendar(at);
    days.set(at.getTime(), day);
    return day;
  };
}

/** A week belongs to the year that its Thursday is in (ISO 8601). */
function isoWeek({ year, month, day }: Day): string {
  const date = new Date(Date.UTC(year, month - 1, day));
  const thursday = new Date(date.getTime() + (3 - ((date.getUTCDay() + 6) % 7)) * DAY_MS);
  const weekYear = thursday.getUTCFullYear();
  const week = Math.floor((thursday.getTime() - Date.UTC(weekYear, 0, 1)) / (7 * DAY_MS)) + 1;
  return `${weekYear}-W${two(week)}`;
}

function two(number: number): string {
  return String(number).padStart(2, '0');
}
