import type { CleanupRecord } from '@sendense/catalog';
import { toSendenseError } from '@sendense/core';
import { delay, withDeadline, type Logger } from '@sendense/runtime';
import { cleanupTask, performCleanup, type CleanupDependencies, type CleanupTask } from './cleanup-tasks.js';
import type { RunTiming } from './dependencies.js';
import { storedError } from './run-state.js';

export interface ReaperOptions extends CleanupDependencies {
  readonly timing: Pick<RunTiming, 'reaperMs' | 'reaperMaxMs' | 'nodeCancelMs'>;
  readonly log: Logger;
}

/** What a run waits for when it cleans up, before it leaves the rest to the reaper. */
const AT_ONCE_MS = 10_000;
/** What it waits for when the hub stops. */
const STOP_MS = 5_000;
/** Removing a large snapshot takes minutes. */
const DEADLINE_MS = 15 * 60_000;

/**
 * Does later what could not be done at once: everything that a run could not release is in the catalogue until it is
 * done, over restarts. Each thing is tried again with growing pauses, and at once when its node comes back.
 */
export class Reaper implements AsyncDisposable {
  readonly #stop = new AbortController();
  readonly #busy = new Map<number, Promise<void>>();
  #wake = Promise.withResolvers<void>();
  #loop: Promise<void> = Promise.resolve();

  constructor(private readonly options: ReaperOptions) {}

  /** Begins to work. What is added before only waits. */
  start(): void {
    this.#loop = this.#run();
  }

  /** Does it now if it can be done, and keeps it for later if not. Never throws. */
  async attempt(task: CleanupTask, backupId: string): Promise<void> {
    try {
      await withDeadline(task.what, AT_ONCE_MS, () => performCleanup(task, this.options));
    } catch (error) {
      await this.later(task, backupId, error);
    }
  }

  /** Keeps it for later. Never throws: what cannot even be written down is found by the next start. */
  async later(task: CleanupTask, backupId: string, reason: unknown): Promise<void> {
    const { catalog, log } = this.options;
    const error = toSendenseError(reason);
    const { what, args } = task;
    try {
      await catalog.cleanups.add({ what, args: { ...args }, backupId, error: storedError(error) });
      log.warn({ what, ...args, code: error.code, error: error.message }, 'left for the reaper');
      this.#wake.resolve();
    } catch (failure) {
      log.error(
        { what, ...args, error: toSendenseError(failure).message },
        'could not be left for the reaper',
      );
    }
  }

  /** What was left on the node is tried at once. */
  nodeConnected(nodeName: string): void {
    void this.#tryAll((record) => record.args['node_name'] === nodeName);
  }

  /**
   * Before a VM is backed up again: an earlier job of it may still be ending on the node. Waits for that, but not for
   * ever: the node refuses a second job of a VM by itself.
   */
  async settleVm(contextId: string, signal: AbortSignal): Promise<void> {
    const end = performance.now() + this.options.timing.nodeCancelMs;
    const ofVm = (record: CleanupRecord) => record.args['context_id'] === contextId;
    for (;;) {
      await this.#tryAll(ofVm);
      const left = (await this.options.catalog.cleanups.list()).filter(ofVm);
      if (!left.some(({ what }) => what === 'settle_job') || performance.now() > end) return;
      await delay(500, signal);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    this.#wake.resolve();
    await this.#loop;
    try {
      await withDeadline('the reaper', STOP_MS, () => Promise.all(this.#busy.values()));
    } catch (error) {
      // It is in the catalogue until it is done: the next start tries it again.
      this.options.log.warn({ error: toSendenseError(error).message }, 'stopped in the middle of a clean-up');
    }
  }

  async #run(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      this.#wake = Promise.withResolvers();
      const now = Date.now();
      await this.#tryAll(({ nextTryAt }) => nextTryAt.getTime() <= now);
      await Promise.race([this.#wake.promise, delay(this.options.timing.reaperMs, this.#stop.signal)]).catch(
        () => undefined,
      );
    }
  }

  async #tryAll(which: (record: CleanupRecord) => boolean): Promise<void> {
    try {
      const records = (await this.options.catalog.cleanups.list()).filter(which);
      await Promise.all(records.map((record) => this.#try(record)));
    } catch (error) {
      this.options.log.error({ error: toSendenseError(error).message }, 'the reaper cannot read its list');
    }
  }

  /** One at a time for each record. */
  #try(record: CleanupRecord): Promise<void> {
    const busy = this.#busy.get(record.id);
    if (busy) return busy;
    const attempt = this.#perform(record).finally(() => this.#busy.delete(record.id));
    this.#busy.set(record.id, attempt);
    return attempt;
  }

  async #perform({ id, what, args, attempts }: CleanupRecord): Promise<void> {
    const { catalog, log, timing } = this.options;
    try {
      const task = cleanupTask(what, args);
      await withDeadline(what, DEADLINE_MS, () => performCleanup(task, this.options));
      await catalog.cleanups.done(id);
      log.info({ what, ...args, attempts }, 'cleaned up');
    } catch (thrown) {
      const error = toSendenseError(thrown);
      const pauseMs = Math.min(timing.reaperMs * 2 ** Math.min(attempts, 20), timing.reaperMaxMs);
      log.warn(
        { what, ...args, attempts, code: error.code, error: error.message, pauseMs },
        'not cleaned up yet',
      );
      await catalog.cleanups.failed(id, {
        error: storedError(error),
        nextTryAt: new Date(Date.now() + pauseMs),
      });
    }
  }
}
