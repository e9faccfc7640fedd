import { readFileSync } from 'node:fs';

/** Of all cores since the start of the machine, in ticks. */
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

/** Of the time that was wanted between the two. */
export function stolenShare(before: MachineTimes, after: MachineTimes): number {
  const stolen = after.stolen - before.stolen;
  return stolen / Math.max(1, after.used - before.used + stolen);
}
