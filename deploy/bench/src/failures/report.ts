import { round } from '../statistics.js';
import { atMost, type Target } from '../targets.js';
import type { FailureResult } from './part.js';

export interface FailureReport {
  readonly title: string;
  readonly limit_seconds: number;
  readonly told_seconds: number;
  readonly clean_seconds: number;
  readonly outcome: string;
  readonly code: string;
  readonly message: string;
  readonly expected: boolean;
}

export function failuresReport(results: readonly FailureResult[]): FailureReport[] {
  return results.map(({ title, limit, toldSeconds, cleanSeconds, told, expected }) => ({
    ...{ title, limit_seconds: limit, told_seconds: round(toldSeconds), clean_seconds: round(cleanSeconds) },
    ...{ outcome: told.outcome, code: told.code, message: told.message, expected },
  }));
}

/** For each limit the slowest; and that everything was told as what it was. */
export function failuresTargets(report: readonly FailureReport[]): Target[] {
  const slowest = [...Map.groupBy(report, ({ limit_seconds: limit }) => limit)].map(([limit, some]) => {
    const last = some.reduce((worst, next) => (next.told_seconds > worst.told_seconds ? next : worst));
    return atMost(`failures, the slowest of ${some.length} (${last.title}): s`, limit, last.told_seconds);
  });
  const other = report.filter(({ expected }) => !expected).length;
  return [...slowest, atMost('failures told as something else', 0, other)];
}

export function failuresRows(report: readonly FailureReport[]): string[][] {
  return [
    ['failure', 'told', '', 'after s', 'of at most', 'clean s later'],
    ...report.map((one) => [
      ...[one.title, one.outcome, one.code],
      ...[one.told_seconds.toFixed(2), String(one.limit_seconds), one.clean_seconds.toFixed(2)],
    ]),
  ];
}
