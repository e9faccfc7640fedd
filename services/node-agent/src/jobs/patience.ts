import type { ChildProcess, Logger } from '@sendense/runtime';
import { REMOVE_DEADLINE_MS } from '../backup-client/snapshot.js';
import type { JobPhase } from '../backup-client/spec.js';

/**
 * How long a client may go on in each phase after it was asked to stop, before it is made to. Creating and removing a
 * snapshot have time limits of their own in the client, and are better left to it: these are for a client that hangs there.
 */
const PATIENCE_MS: Readonly<Record<JobPhase, number>> = {
  preparing: 5000,
  creating_snapshot: 10 * 60_000,
  copying: 15_000,
  removing_snapshot: REMOVE_DEADLINE_MS + 5 * 60_000,
  ending: 15_000,
};

/** How long a client may take to end after its last event. */
const FAREWELL_MS = 5000;

/** Ends a backup client that does not end by itself: SIGTERM, then SIGKILL. */
export class Patience implements Disposable {
  #timer: NodeJS.Timeout | undefined;
  #stopping = false;
  #phase: JobPhase = 'preparing';

  constructor(
    private readonly client: ChildProcess,
    private readonly log: Logger,
  ) {}

  /** What the client does now. Each phase gets its own time. */
  get phase(): JobPhase {
    return this.#phase;
  }

  enter(phase: JobPhase): void {
    this.#phase = phase;
    if (this.#stopping) this.#wait(PATIENCE_MS[phase]);
  }

  /** It was asked to stop. */
  stopping(): void {
    this.#stopping = true;
    this.#wait(PATIENCE_MS[this.#phase]);
  }

  /** It has said its last word. */
  farewell(): void {
    this.#wait(FAREWELL_MS);
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }

  #wait(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.log.warn({ phase: this.#phase, afterMs: ms }, 'the backup client does not end by itself');
      void this.client.terminate();
    }, ms);
  }
}
