import type { TaskRecord } from '@sendense/catalog';
import { toSendenseError } from '@sendense/core';
import type { Logger } from '@sendense/runtime';
import { describeHolders, type ChainLock, type ChainLockRequest, type ChainLocks } from '../chains/locks.js';
import type { QueuedTask, TaskLock } from './types.js';

export interface TaskQueueOptions {
  readonly locks: ChainLocks;
  readonly maxTasks: number;
  readonly log: Logger;
  /** Runs the task, which releases the lock; resolves when it has ended and never rejects. */
  readonly admit: (task: TaskRecord, lock: ChainLock | undefined) => Promise<void>;
}

interface Waiter {
  readonly task: TaskRecord;
  readonly lock: TaskLock | undefined;
  waitingFor: string;
}

/** When the catalogue could not be asked. */
const RETRY_MS = 5_000;

/**
 * Tasks in the order in which they came. One whose chain is in use lets those of other chains pass, and is passed by no
 * other task of its chain.
 */
export class TaskQueue implements AsyncDisposable {
  readonly #waiting: Waiter[] = [];
  /** With the chain that each works on. */
  readonly #running = new Map<string, string | undefined>();
  readonly #listening: Disposable;
  #pumping: Promise<void> = Promise.resolve();
  #retry: NodeJS.Timeout | undefined;
  #open = false;

  constructor(private readonly options: TaskQueueOptions) {
    this.#listening = options.locks.onRelease(() => this.#pump());
  }

  /** Nothing is started before this. */
  open(): void {
    this.#open = true;
    this.#pump();
  }

  add(task: TaskRecord, lock: TaskLock | undefined): void {
    this.#waiting.push({ task, lock, waitingFor: 'its turn' });
    this.#pump();
  }

  /** @returns whether it waited: from now on it is not started */
  remove(taskId: string): boolean {
    const index = this.#waiting.findIndex(({ task }) => task.id === taskId);
    if (index >= 0) this.#waiting.splice(index, 1);
    return index >= 0;
  }

  view(): QueuedTask[] {
    return this.#waiting.map(({ task, waitingFor }, index) => ({
      taskId: task.id,
      position: index + 1,
      waitingFor,
    }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#open = false;
    clearTimeout(this.#retry);
    this.#listening[Symbol.dispose]();
    await this.#pumping;
  }

  #pump(): void {
    if (!this.#open) return;
    clearTimeout(this.#retry);
    this.#pumping = this.#pumping
      .then(() => this.#admitAll())
      .catch((error: unknown) => {
        this.options.log.error({ error: toSendenseError(error).message }, 'the task queue could not go on');
        if (this.#open) this.#retry = setTimeout(() => this.#pump(), RETRY_MS).unref();
      });
  }

  async #admitAll(): Promise<void> {
    const { maxTasks, locks } = this.options;
    const wanted = new Set<string | undefined>();
    for (const waiter of this.#waiting.slice()) {
      if (!this.#open) return;
      const chain = chainOf(waiter.lock);
      const request = lockRequest(waiter);
      if (this.#running.size >= maxTasks) waiter.waitingFor = `one of the ${maxTasks} tasks that run now`;
      else if (chain !== undefined && wanted.has(chain)) waiter.waitingFor = 'an earlier task of this chain';
      else if (chain !== undefined && this.#isBusy(chain)) waiter.waitingFor = this.#worker(chain);
      else if (!request) this.#admit(waiter, undefined);
      else {
        const lock = await locks.tryAcquire(request);
        if (lock) this.#admit(waiter, lock);
        else waiter.waitingFor = describeHolders(await locks.holders(request)) || 'its turn';
      }
      wanted.add(chain);
    }
  }

  #admit(waiter: Waiter, lock: ChainLock | undefined): void {
    const { task } = waiter;
    // It may have been cancelled while its lock was acquired.
    if (!this.remove(task.id)) {
      if (lock) this.#giveBack(lock);
      return;
    }
    this.#running.set(task.id, chainOf(waiter.lock));
    void this.options.admit(task, lock).then(() => {
      this.#running.delete(task.id);
      this.#pump();
    });
  }

  #giveBack(lock: ChainLock): void {
    this.options.locks.release(lock.request.holderId).catch((error: unknown) => {
      this.options.log.error({ error: toSendenseError(error).message }, 'a chain lock could not be released');
    });
  }

  #isBusy(chain: string): boolean {
    return [...this.#running.values()].includes(chain);
  }

  #worker(chain: string): string {
    const [id] = [...this.#running].find(([, busy]) => busy === chain) ?? [];
    return id ?? 'another task of this chain';
  }
}

function chainOf(lock: TaskLock | undefined): string | undefined {
  return lock && `${lock.repositoryId}/${lock.contextId}`;
}

function lockRequest({ lock, task }: Waiter): ChainLockRequest | undefined {
  return lock && { ...lock, purpose: task.kind, holderId: task.id };
}
