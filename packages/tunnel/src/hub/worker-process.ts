import type { Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import {
  ChildProcess,
  KEEP_FREED_MEMORY,
  withDeadline,
  type ChildExit,
  type Logger,
} from '@sendense/runtime';
import type { FromWorker, ToWorker, WorkerConfig, WorkerCounters } from './messages.js';

/** What is garbage here is little and young: waking other threads to collect it costs more than they do. */
const NODE_OPTIONS = ['--single-threaded-gc'];
const ENTRY_POINT = fileURLToPath(new URL('../worker/main.js', import.meta.url));
const START_TIMEOUT_MS = 15_000;
const ORDER_TIMEOUT_MS = 5000;
/** Workers speak every second. */
const QUIET_MS = 3000;
/** A worker that has not said a word for this many checks is stuck, and everything it holds is stuck with it. */
const WATCH_INTERVAL_MS = 5000;
const MAX_SILENT_CHECKS = 6;

export interface WorkerProcessOptions {
  readonly number: number;
  readonly config: WorkerConfig;
  readonly owner: string;
  readonly log: Logger;
  readonly onMessage: (worker: WorkerProcess, message: FromWorker) => void;
}

type Order =
  | { readonly type: 'drop'; readonly connectionId: number; readonly reason: string }
  | {
      readonly type: 'revoke_job';
      readonly jobId: string;
    };

/** A child process that carries SSH connections. */
export class WorkerProcess implements AsyncDisposable {
  readonly #orders = new Map<number, () => void>();
  readonly #ready = Promise.withResolvers<void>();
  #lastOrder = 0;
  #silentChecks = 0;
  #heardAt = performance.now();
  counters: WorkerCounters = { channels: 0, fromPeerBytes: 0, toPeerBytes: 0 };

  private constructor(
    private readonly child: ChildProcess,
    private readonly options: WorkerProcessOptions,
  ) {
    child.ipc.on('message', (message: FromWorker) => this.#receive(message));
    // A broken channel: the process is ending, and `exited` says how.
    child.ipc.on('error', () => undefined);
    const watch = setInterval(() => this.#watch(), WATCH_INTERVAL_MS);
    void child.exited.then(() => {
      clearInterval(watch);
      for (const settle of this.#orders.values()) settle();
      this.#orders.clear();
    });
  }

  /** Resolves when the worker takes connections. @throws `process_failed` with its stderr */
  static async start(options: WorkerProcessOptions): Promise<WorkerProcess> {
    const name = `tunnel worker ${options.number}`;
    const { owner, log } = options;
    const child = await ChildProcess.spawn(process.execPath, [...NODE_OPTIONS, ENTRY_POINT], {
      ...{ name, owner, log },
      env: KEEP_FREED_MEMORY,
      ipc: true,
    });
    const worker = new WorkerProcess(child, options);
    const died = child.exited.then(() => {
      throw child.failure('process_failed', `${name} did not start`);
    });
    try {
      worker.#send({ type: 'start', config: options.config });
      await withDeadline(`starting ${name}`, START_TIMEOUT_MS, async () =>
        Promise.race([worker.#ready.promise, died]),
      );
      return worker;
    } catch (error) {
      await child.terminate();
      throw error;
    } finally {
      died.catch(() => undefined);
    }
  }

  get pid(): number {
    return this.child.pid;
  }

  get exited(): Promise<ChildExit> {
    return this.child.exited;
  }

  /** It has not spoken for a moment: stuck, or starved. */
  get quiet(): boolean {
    return performance.now() - this.#heardAt > QUIET_MS;
  }

  get running(): boolean {
    return this.child.running;
  }

  /** Its last words, for the log. */
  stderrTail(): string {
    return this.child.stderrTail();
  }

  /** Hands a connection over. The socket is no longer this process's, whether it arrives or not. */
  carry(id: number, remoteAddress: string, socket: Socket): void {
    this.#send({ type: 'connection', id, remoteAddress }, socket);
  }

  answer(id: number, answer: Extract<ToWorker, { type: 'answer' }>['answer']): void {
    this.#send({ type: 'answer', id, answer });
  }

  /** Resolves when the worker has done it, when it is gone, or after a few seconds: it may be stuck. */
  async order(order: Order): Promise<void> {
    if (!this.running) return;
    const id = ++this.#lastOrder;
    const done = new Promise<void>((resolve) => this.#orders.set(id, resolve));
    this.#send({ ...order, id });
    try {
      await withDeadline(
        `${order.type} in tunnel worker ${this.options.number}`,
        ORDER_TIMEOUT_MS,
        async () => done,
      );
    } catch (error) {
      this.options.log.warn({ order, pid: this.pid, error: String(error) }, 'tunnel worker does not answer');
    } finally {
      this.#orders.delete(id);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.child.terminate();
  }

  #send(message: ToWorker, socket?: Socket): void {
    const lost = () => socket?.destroy();
    if (!this.child.ipc.connected) {
      lost();
      return;
    }
    this.child.ipc.send(message, socket, {}, (error) => {
      if (error) lost();
    });
  }

  #receive(message: FromWorker): void {
    this.#silentChecks = 0;
    this.#heardAt = performance.now();
    switch (message.type) {
      case 'ready':
        this.#ready.resolve();
        break;
      case 'done':
        this.#orders.get(message.id)?.();
        break;
      case 'alive':
        this.counters = message.counters;
        break;
      default:
        this.options.onMessage(this, message);
    }
  }

  #watch(): void {
    if (++this.#silentChecks <= MAX_SILENT_CHECKS) return;
    this.options.log.error({ pid: this.pid }, 'tunnel worker is stuck: it is ended and started again');
    this.child.ipc.kill('SIGKILL');
  }
}
