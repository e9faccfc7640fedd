import type { JobEvent } from '@sendense/contracts';

/** What happened, without number and time. */
export type JobEventBody = NonNullable<JobEvent['event']>;

/**
 * The events of one job, numbered from 1 without gaps and kept for replay. Progress is different: it has no number of its
 * own (it carries that of the event before it), and only the newest is kept, so that memory does not grow with a job's
 * duration. A watcher that reads slowly skips progress and misses nothing else.
 */
export class EventLog {
  readonly #events: JobEvent[] = [];
  #progress: JobEvent | undefined;
  #ended = false;
  /** Settles at the next change; replaced then. */
  #change = Promise.withResolvers<void>();

  get lastSequence(): number {
    return this.#events.length;
  }

  /** `finished` or `failed` was the last event: none follows. */
  get ended(): boolean {
    return this.#ended;
  }

  get events(): readonly JobEvent[] {
    return this.#events;
  }

  /** Events after the end are given their number but not kept: the first cause stays. */
  append(event: JobEventBody): JobEvent {
    const progress = event.$case === 'progress';
    const number = this.#events.length + (progress ? 0 : 1);
    const numbered: JobEvent = { sequence: BigInt(number), at: new Date(), event };
    if (this.#ended) return numbered;
    if (progress) this.#progress = numbered;
    else this.#events.push(numbered);
    this.#ended = event.$case === 'finished' || event.$case === 'failed';
    const changed = this.#change;
    this.#change = Promise.withResolvers();
    changed.resolve();
    return numbered;
  }

  /**
   * Every event with a higher number than `after`, then those that come, until the job has ended or the signal aborts.
   * The numbers never go down: progress that is older than an event already sent is left out.
   */
  async *watch(after: number, signal: AbortSignal): AsyncGenerator<JobEvent> {
    let sent = after;
    let shown: JobEvent | undefined;
    while (!signal.aborted) {
      const change = this.#change.promise;
      const next = this.#events[sent];
      if (next) {
        sent++;
        yield next;
        continue;
      }
      const progress = this.#progress;
      if (this.#ended) return;
      if (progress && progress !== shown && Number(progress.sequence) >= sent) {
        shown = progress;
        yield progress;
        continue;
      }
      await settledOrAborted(change, signal);
    }
  }
}

/** Waits for whichever comes first, and leaves no listener on the signal. */
async function settledOrAborted(change: Promise<void>, signal: AbortSignal): Promise<void> {
  const aborted = Promise.withResolvers<void>();
  const onAbort = () => aborted.resolve();
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    await Promise.race([change, aborted.promise]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}
