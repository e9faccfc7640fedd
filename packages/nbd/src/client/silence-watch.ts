/** What a silence is seen from. */
export interface Conversation {
  /** How much the server has said so far. */
  readonly heardBytes: number;
  /** Since when (as `performance.now()`) there always was something to answer; undefined while there is nothing. */
  readonly waitingSince: number | undefined;
  /** How long the server may keep silent over what it is asked now. */
  readonly patienceMs: number;
}

/** How often a limit is looked at. */
const LOOKS_PER_LIMIT = 8;

/**
 * Notices a server that keeps its connection and answers nothing. Any byte from it counts as a sign of life: on a slow
 * line the reply to one request may wait for long behind those to others.
 *
 * Time in which this process itself stood still (a busy machine, a paused virtual machine) is not held against the
 * server: what it said meanwhile waits to be read, and timers come before sockets.
 */
export class SilenceWatch implements Disposable {
  readonly #timer: NodeJS.Timeout;
  readonly #intervalMs: number;
  #heardBytes = 0;
  #lookedAt = performance.now();
  #silentMs = 0;

  /** @param shortestMs the shortest patience that the conversation will ever have */
  constructor(
    private readonly conversation: () => Conversation,
    shortestMs: number,
    private readonly onSilence: (silentMs: number) => void,
  ) {
    this.#intervalMs = Math.max(1, shortestMs / LOOKS_PER_LIMIT);
    this.#timer = setInterval(() => this.#look(), this.#intervalMs);
    this.#timer.unref();
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }

  #look(): void {
    const { heardBytes, waitingSince, patienceMs } = this.conversation();
    const now = performance.now();
    const quietMs = now - Math.max(this.#lookedAt, waitingSince ?? now);
    if (heardBytes !== this.#heardBytes || waitingSince === undefined) this.#silentMs = 0;
    else this.#silentMs += Math.min(quietMs, 2 * this.#intervalMs);
    this.#heardBytes = heardBytes;
    this.#lookedAt = now;
    if (this.#silentMs >= patienceMs) this.onSilence(this.#silentMs);
  }
}
