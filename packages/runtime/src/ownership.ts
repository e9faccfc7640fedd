import { setTimeout as wait } from 'node:timers/promises';
import { SendenseError, toSendenseError } from '@sendense/core';
import type { Logger } from './log.js';

/** One step of a clean-up: what it releases, and how. */
export interface Release {
  /** For the log and for the error: `nbdkit of disk 2000`. */
  readonly what: string;
  readonly release: () => unknown;
}

/** Runs `work` with a time limit of its own. The work is not stopped when the limit passes, but no longer waited for. */
export async function withDeadline<T>(
  what: string,
  timeoutMs: number,
  work: () => Promise<T> | T,
): Promise<T> {
  return unlessLate(work, (late) => setTimeout(() => late(tooLate(what, timeoutMs)), timeoutMs));
}

const TURN_MS = 20;

/**
 * As {@link withDeadline}, for what others do (a file system, a peer): that this process itself was busy is not held
 * against them. A turn of its event loop, in which their answer may have come, counts for 20 ms, however long it took.
 */
export async function withFairDeadline<T>(
  what: string,
  timeoutMs: number,
  work: () => Promise<T> | T,
): Promise<T> {
  let turns = Math.ceil(timeoutMs / TURN_MS);
  return unlessLate(work, (late) =>
    setInterval(() => {
      if (--turns <= 0) late(tooLate(what, timeoutMs));
    }, TURN_MS),
  );
}

/** @param watch starts the timer that calls it late */
async function unlessLate<T>(
  work: () => Promise<T> | T,
  watch: (late: (error: SendenseError) => void) => NodeJS.Timeout,
): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const timer = watch(reject);
  try {
    return await Promise.race([Promise.resolve().then(work), promise]);
  } finally {
    clearTimeout(timer);
  }
}

function tooLate(what: string, timeoutMs: number): SendenseError {
  return new SendenseError('timeout', `${what} did not finish within ${timeoutMs / 1000} s`, {
    retryable: true,
  });
}

/**
 * Things that were acquired one after another, released in reverse order. A failing release is reported and does not stop
 * the others; each has its own deadline. Cleaning up never depends on the signal of the run that acquired them.
 */
export class OwnedStack implements AsyncDisposable {
  #releases: Release[] = [];

  constructor(
    private readonly log: Logger,
    private readonly timeoutMs = 30_000,
    /** Told of each release that failed, so that it can be retried later. */
    private readonly onFailure?: (what: string, error: SendenseError) => void,
  ) {}

  /** Takes ownership of something disposable and returns it. */
  use<T extends AsyncDisposable | Disposable>(what: string, value: T): T {
    this.defer(what, () =>
      Symbol.asyncDispose in value ? value[Symbol.asyncDispose]() : value[Symbol.dispose](),
    );
    return value;
  }

  defer(what: string, release: () => unknown): void {
    this.#releases.push({ what, release });
  }

  /** Hands everything over to a new owner; this stack then releases nothing. */
  move(): OwnedStack {
    const moved = new OwnedStack(this.log, this.timeoutMs, this.onFailure);
    moved.#releases = this.#releases;
    this.#releases = [];
    return moved;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const releases = this.#releases.toReversed();
    this.#releases = [];
    for (const { what, release } of releases) {
      try {
        await withDeadline(`releasing ${what}`, this.timeoutMs, async () => release());
      } catch (error) {
        const failure = toSendenseError(error);
        this.log.error({ what, code: failure.code, error: failure.message }, 'could not release');
        this.onFailure?.(what, failure);
      }
    }
  }
}

/** Resolves after `ms`, or rejects with the signal's reason. */
export async function delay(ms: number, signal?: AbortSignal): Promise<void> {
  try {
    await wait(ms, undefined, signal ? { signal } : {});
  } catch (error) {
    const reason: unknown = signal?.reason;
    throw reason instanceof SendenseError ? reason : toSendenseError(error);
  }
}
