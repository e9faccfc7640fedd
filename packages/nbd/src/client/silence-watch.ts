/** What a silence is seen from. */
export interface Conversation {
  /** How much the server has said so far. */
  readonly heardBytes: number;
  /** Since when (as `performance.now()`) there always was something to answer; undefined while there is nothing. */
  readonly waitingSince: number | undefined;
  /** How long the server may keep silent over what it is asked now. */
  readonly patienceMs: number;
}

/** How often a limit is looked at: a silence ends at most an eighth later than it should. */
const LOOKS_PER_LIMIT = 8;

/**
 * Notices a server that keeps its connection and answers nothing. Any byte from it counts as a sign of life: on a slow
 * line the reply to one request may wait for long behind those to others.
 */
export class SilenceWatch implements Disposable {
  readonly #timer: NodeJS.Timeout;
  #heardBytes = 0;
  #heardAt = 0;

  /** @param shortestMs the shortest patience that the conversation will ever have */
  constructor(
    private readonly conversation: () => Conversation,
    shortestMs: number,
    private readonly onSilence: (silentMs: number) => void,
  ) {
    this.#timer = setInterval(() => this.#look(), Math.max(1, shortestMs / LOOKS_PER_LIMIT));
    this.#timer.unref();
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }

  #look(): void {
    const { heardBytes, waitingSince, patienceMs } = this.conversation();
    const now = performance.now();
    if (heardBytes !== this.#heardBytes) this.#heardAt = now;
    this.#heardBytes = heardBytes;
    const silentMs = now - Math.max(this.#heardAt, waitingSince ?? now);
    if (silentMs >= patienceMs) this.onSilence(silentMs);
  }
}
