import { SendenseError } from '@sendense/core';
import { delay } from '@sendense/runtime';

/** Where a rate limit takes its time from; tests bring their own. */
export interface RateClock {
  /** Milliseconds that only go forward. */
  now(): number;
  wait(ms: number, signal?: AbortSignal): Promise<void>;
}

const systemClock: RateClock = { now: () => performance.now(), wait: delay };

/** How far ahead of the rate a burst may run. Shorter gaps than a timer can keep are not worth a wait. */
const BURST_MS = 100;
/** A timer takes no more (25 days), and fires at once when it is given more. */
const LONGEST_WAIT_MS = 2 ** 31 - 1;

/**
 * Bytes per second, shared by all disks of a job. Each taker is given the next stretch of time that its bytes need at
 * this rate, in the order of asking, and waits until that stretch begins; so the sum keeps to the rate whoever asks.
 */
export class RateLimit {
  /** When everything that was given out so far will have been used up. */
  #spentUntilMs: number;

  /** @param bytesPerSecond more than 0; for "unlimited" have no limit at all */
  constructor(
    readonly bytesPerSecond: number,
    private readonly clock: RateClock = systemClock,
  ) {
    if (!Number.isFinite(bytesPerSecond) || bytesPerSecond <= 0) {
      throw new SendenseError(
        'invalid_argument',
        `a rate limit is a number of bytes per second above 0, got ${bytesPerSecond}`,
      );
    }
    this.#spentUntilMs = clock.now();
  }

  /** Resolves when `bytes` may be moved. @throws the signal's reason */
  async take(bytes: number, signal?: AbortSignal): Promise<void> {
    const now = this.clock.now();
    const start = Math.max(this.#spentUntilMs, now);
    this.#spentUntilMs = start + (bytes / this.bytesPerSecond) * 1000;
    if (start - now > BURST_MS) await this.clock.wait(Math.min(start - now, LONGEST_WAIT_MS), signal);
  }
}
