import type { SendenseError } from '@sendense/core';
import { EventLog } from './event-log.js';

export type JobState = 'running' | 'finished' | 'failed';

/** One backup of this process's life: its events, and the means to stop it. */
export class Job {
  readonly events = new EventLog();
  readonly startedAt = new Date();
  /** Settles when the job has ended and everything of it is released; never rejects. */
  readonly ended: Promise<void>;
  readonly #stop = new AbortController();
  #endedAt: Date | undefined;

  /** @param run ends with a `finished` or `failed` event, and never rejects */
  constructor(
    readonly id: string,
    readonly vm: { readonly moref: string; readonly instanceUuid: string; readonly name: string },
    run: (events: EventLog, signal: AbortSignal) => Promise<void>,
  ) {
    this.ended = run(this.events, this.#stop.signal).then(() => {
      this.#endedAt = new Date();
    });
  }

  get state(): JobState {
    if (!this.events.ended) return 'running';
    return this.events.events.at(-1)?.event?.$case === 'finished' ? 'finished' : 'failed';
  }

  get endedAt(): Date | undefined {
    return this.#endedAt;
  }

  /** Asks it to stop; its end is its `failed` event. @returns false when it had ended already */
  cancel(reason: SendenseError): boolean {
    if (this.events.ended) return false;
    this.#stop.abort(reason);
    return true;
  }
}
