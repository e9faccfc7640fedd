import { isFinal } from '@sendense/core';
import type { BackupEvent, BackupHappening } from './types.js';

/**
 * The events of one backup, numbered, for any number of subscribers that may come late. Progress is many times as frequent
 * as anything else, so only the newest is kept: the log stays short however long the backup takes.
 */
export class EventLog {
  #events: BackupEvent[] = [];
  #sequence = 0;
  #ended = false;
  #changed = Promise.withResolvers<void>();

  /** Nothing is added after a final state. */
  push(happening: BackupHappening): void {
    if (this.#ended) return;
    if (happening.type === 'progress') this.#events = this.#events.filter(({ type }) => type !== 'progress');
    this.#events.push({ sequence: ++this.#sequence, at: new Date(), ...happening });
    this.#ended = happening.type === 'state' && isFinal(happening.state);
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }

  /** The events with a higher number, then those that follow; ends with the final state, or when the signal aborts. */
  async *after(sequence: number, signal?: AbortSignal): AsyncGenerator<BackupEvent> {
    const aborted = Promise.withResolvers<void>();
    const stop = () => aborted.resolve();
    signal?.addEventListener('abort', stop, { once: true });
    try {
      let seen = sequence;
      for (;;) {
        if (signal?.aborted) return;
        const changed = this.#changed.promise;
        for (const event of this.#events.filter((candidate) => candidate.sequence > seen)) {
          yield event;
          seen = event.sequence;
        }
        if (this.#ended && seen >= this.#sequence) return;
        await Promise.race([changed, aborted.promise]);
      }
    } finally {
      signal?.removeEventListener('abort', stop);
    }
  }
}
