/** What a timer can wait at most. */
const MOST_MS = 2 ** 31 - 1;

/** Tells those who wait that something of the inventory has changed. */
export class Changes {
  #wake: () => void = () => {};
  #next = new Promise<void>((resolve) => {
    this.#wake = resolve;
  });

  notify(): void {
    this.#wake();
    this.#next = new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
  }

  /** The change that comes next, from now on: ask for it before looking, so that none is missed. */
  next(): { within(timeoutMs: number, signal: AbortSignal): Promise<void> } {
    const change = this.#next;
    return {
      within: async (timeoutMs, signal) => {
        const stop = new AbortController();
        const over = new Promise<void>((resolve) => {
          const options = { once: true, signal: stop.signal };
          signal.addEventListener('abort', () => resolve(), options);
          if (timeoutMs === Number.POSITIVE_INFINITY) return;
          const timer = setTimeout(resolve, Math.min(timeoutMs, MOST_MS));
          stop.signal.addEventListener('abort', () => clearTimeout(timer), { once: true });
        });
        try {
          await Promise.race([change, over]);
        } finally {
          stop.abort();
        }
      },
    };
  }
}
