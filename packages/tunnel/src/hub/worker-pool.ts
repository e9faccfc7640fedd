import { SendenseError } from '@sendense/core';
import { delay } from '@sendense/runtime';
import type { WorkerCounters } from './messages.js';
import { WorkerProcess, type WorkerProcessOptions } from './worker-process.js';

const RESTART_MIN_MS = 100;
const RESTART_MAX_MS = 5000;
/** A worker that lived this long did not die of its start. */
const STABLE_AFTER_MS = 60_000;

export interface WorkerPoolOptions extends Omit<WorkerProcessOptions, 'number'> {
  readonly workers: number;
  /** A worker has ended unasked; another one takes its place. */
  readonly onLost: (worker: WorkerProcess, reason: string) => void;
}

/** Keeps a number of workers running. */
export class WorkerPool implements AsyncDisposable {
  readonly #running = new Set<WorkerProcess>();
  readonly #stop = new AbortController();
  readonly #keepers: Promise<void>[] = [];
  #lost: WorkerCounters = { channels: 0, fromPeerBytes: 0, toPeerBytes: 0 };
  #restarts = 0;

  private constructor(private readonly options: WorkerPoolOptions) {}

  /** Resolves when all of them take connections. @throws `process_failed` */
  static async start(options: WorkerPoolOptions): Promise<WorkerPool> {
    const pool = new WorkerPool(options);
    const numbers = Array.from({ length: options.workers }, (_, index) => index + 1);
    try {
      const first = await Promise.all(numbers.map(async (number) => pool.#start(number)));
      for (const [index, worker] of first.entries()) pool.#keepers.push(pool.#keep(index + 1, worker));
      return pool;
    } catch (error) {
      await pool[Symbol.asyncDispose]();
      throw error;
    }
  }

  get restarts(): number {
    return this.#restarts;
  }

  get size(): number {
    return this.#running.size;
  }

  workers(): WorkerProcess[] {
    return [...this.#running];
  }

  /** Since the start, the workers that are gone included. */
  counters(): WorkerCounters {
    return this.workers().reduce((sum, { counters }) => added(sum, counters), this.#lost);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await Promise.all(this.workers().map(async (worker) => worker[Symbol.asyncDispose]()));
    await Promise.all(this.#keepers);
  }

  async #start(number: number): Promise<WorkerProcess> {
    const worker = await WorkerProcess.start({ ...this.options, number });
    if (this.#stop.signal.aborted) {
      await worker[Symbol.asyncDispose]();
      throw new SendenseError('shutting_down', 'the tunnel is shutting down');
    }
    this.#running.add(worker);
    return worker;
  }

  async #keep(number: number, first: WorkerProcess): Promise<void> {
    let pauseMs = RESTART_MIN_MS;
    let worker: WorkerProcess | undefined = first;
    while (!this.#stop.signal.aborted) {
      const since = performance.now();
      if (worker) await this.#outlive(number, worker);
      if (this.#stop.signal.aborted) return;
      pauseMs =
        performance.now() - since > STABLE_AFTER_MS ? RESTART_MIN_MS : Math.min(pauseMs * 2, RESTART_MAX_MS);
      worker = await this.#restart(number, pauseMs);
    }
  }

  async #outlive(number: number, worker: WorkerProcess): Promise<void> {
    const exit = await worker.exited;
    this.#running.delete(worker);
    this.#lost = added(this.#lost, { ...worker.counters, channels: 0 });
    const reason = `tunnel worker ${number} ended (${exit.description})`;
    if (!this.#stop.signal.aborted) {
      this.options.log.error({ pid: worker.pid, said: worker.stderrTail() }, reason);
    }
    this.options.onLost(worker, reason);
  }

  async #restart(number: number, pauseMs: number): Promise<WorkerProcess | undefined> {
    try {
      await delay(pauseMs, this.#stop.signal);
      this.#restarts++;
      return await this.#start(number);
    } catch (error) {
      if (!this.#stop.signal.aborted)
        this.options.log.error({ error }, `tunnel worker ${number} did not start`);
      return undefined;
    }
  }
}

function added(a: WorkerCounters, b: WorkerCounters): WorkerCounters {
  return {
    channels: a.channels + b.channels,
    fromPeerBytes: a.fromPeerBytes + b.fromPeerBytes,
    toPeerBytes: a.toPeerBytes + b.toPeerBytes,
  };
}
