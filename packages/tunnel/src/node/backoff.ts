import type { TunnelTiming } from './timing.js';

/** How long to wait before the next attempt: doubling, jittered, so that many nodes do not come back as one. */
export class Backoff {
  #failures = 0;

  constructor(
    private readonly timing: Pick<TunnelTiming, 'backoffMinMs' | 'backoffMaxMs' | 'stableAfterMs'>,
    private readonly random: () => number = Math.random,
  ) {}

  /**
   * @param last.lastedMs how long the last connection stood, 0 when it never did
   * @param last.retryable false when only somebody's action can help: then there is no hurry
   * @returns between half and the whole of the current step, in milliseconds
   */
  next(last: { readonly lastedMs: number; readonly retryable: boolean }): number {
    const { backoffMinMs, backoffMaxMs, stableAfterMs } = this.timing;
    if (last.lastedMs >= stableAfterMs) this.#failures = 0;
    const doubled = backoffMinMs * 2 ** Math.min(this.#failures++, 30);
    const step = last.retryable ? Math.min(doubled, backoffMaxMs) : backoffMaxMs;
    return step * (0.5 + this.random() / 2);
  }
}
