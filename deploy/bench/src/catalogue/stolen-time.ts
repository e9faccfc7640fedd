import { readFileSync } from 'node:fs';

/** Of all cores, in ticks: since the start of the machine, or in a span of time. */
export interface MachineTimes {
  /** Something ran. */
  readonly used: number;
  /** Something could have run, and the machine below ran others. */
  readonly stolen: number;
}

/** https://docs.kernel.org/filesystems/proc.html#miscellaneous-kernel-statistics-in-proc-stat */
export function machineTimes(): MachineTimes {
  const [line = ''] = readFileSync('/proc/stat', 'utf8').split('\n', 1);
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0, stolen = 0] = line
    .split(/\s+/)
    .slice(1)
    .map(Number);
  return { used: user + nice + system + irq + softirq, stolen };
}

export function timesSince(before: MachineTimes): MachineTimes {
  const now = machineTimes();
  return { used: now.used - before.used, stolen: now.stolen - before.stolen };
}

/** Of the time that was wanted in these spans. */
export function stolenShare(spans: readonly MachineTimes[]): number {
  const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
  const stolen = sum(spans.map((span) => span.stolen));
  return stolen / Math.max(1, sum(spans.map(({ used }) => used)) + stolen);
}
