import type { Refusal } from './policy.js';

const SUMMARY_INTERVAL_MS = 10_000;
const MAX_SOURCES = 1000;
/** Sources that get a summary line of their own. */
const MAX_SUMMARIES = 20;

export interface RefusalRate {
  /** At once. */
  readonly burst: number;
  /** From then on. */
  readonly perSecond: number;
}

/** One source cannot use up what the others may report, and all together cannot fill the audit trail. */
const EACH_SOURCE: RefusalRate = { burst: 20, perSecond: 0.2 };
const ALL_SOURCES: RefusalRate = { burst: 200, perSecond: 5 };

class Bucket {
  #tokens: number;
  #at: number;

  constructor(
    private readonly rate: RefusalRate,
    now: number,
  ) {
    this.#tokens = rate.burst;
    this.#at = now;
  }

  take(now: number): boolean {
    const refill = ((now - this.#at) / 1000) * this.rate.perSecond;
    this.#tokens = Math.min(this.rate.burst, this.#tokens + refill);
    this.#at = now;
    if (this.#tokens < 1) return false;
    this.#tokens--;
    return true;
  }
}

/**
 * Refusals on their way to the audit trail: a flood of them arrives as its first few and, every ten seconds, a count of
 * the rest.
 */
export class RefusalReport implements Disposable {
  readonly #sources = new Map<string, Bucket>();
  readonly #withheld = new Map<string, number>();
  readonly #all: Bucket;
  readonly #timer: NodeJS.Timeout;
  /** Every refusal there was, reported or not. */
  total = 0;

  constructor(
    private readonly report: (refusal: Refusal) => void,
    private readonly now: () => number = () => performance.now(),
  ) {
    this.#all = new Bucket(ALL_SOURCES, now());
    this.#timer = setInterval(() => this.flush(), SUMMARY_INTERVAL_MS);
    this.#timer.unref();
  }

  add(refusal: Refusal): void {
    this.total++;
    const now = this.now();
    const mayReport = this.#bucketOf(refusal.remoteAddress, now).take(now) && this.#all.take(now);
    if (mayReport) {
      this.report(refusal);
      return;
    }
    const { remoteAddress } = refusal;
    const own = this.#withheld.has(remoteAddress) || this.#withheld.size < MAX_SUMMARIES;
    const source = own ? remoteAddress : 'several addresses';
    this.#withheld.set(source, (this.#withheld.get(source) ?? 0) + 1);
  }

  /** Reports the counts of what was left out. */
  flush(): void {
    for (const [remoteAddress, count] of this.#withheld) {
      this.report({ what: 'other', detail: `${count} more refusals that are not listed`, remoteAddress });
    }
    this.#withheld.clear();
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    this.flush();
  }

  #bucketOf(source: string, now: number): Bucket {
    const known = this.#sources.get(source);
    if (known) return known;
    const oldest = this.#sources.keys().next();
    if (this.#sources.size >= MAX_SOURCES && !oldest.done) this.#sources.delete(oldest.value);
    const bucket = new Bucket(EACH_SOURCE, now);
    this.#sources.set(source, bucket);
    return bucket;
  }
}
