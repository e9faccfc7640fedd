import {
  chainBusy,
  type Catalog,
  type ChainLockMode,
  type ChainLockRecord,
  type ChainRef,
} from '@sendense/catalog';
import { throwIfAborted } from '@sendense/core';
import type { Logger } from '@sendense/runtime';

export interface ChainLockRequest extends ChainRef {
  /** `shared`: the chain must stay as it is. `exclusive`: its images change. */
  readonly mode: ChainLockMode;
  /** For whoever has to wait: `backup`, `verify`, `remove`. */
  readonly purpose: string;
  /** The id of the backup or task; one holder has one lock on a chain. */
  readonly holderId: string;
}

export interface WaitOptions {
  readonly signal: AbortSignal;
  /** Called each time it has to wait (again), with what it waits for: `remove task-…`. */
  readonly onWaiting?: (waitingFor: string) => void;
}

export interface ChainLock extends AsyncDisposable {
  readonly request: ChainLockRequest;
  /** The lock stays in the catalogue when this is disposed: the next start goes on under it. */
  keep(): void;
}

/**
 * Who reads or changes the chain of a VM in a repository: readers, writers and backups (whose parent must stay) exclude
 * changes. Locks are rows of the catalogue, so that an interrupted change keeps others out until it is finished.
 */
export class ChainLocks {
  #released = Promise.withResolvers<void>();
  readonly #listeners = new Set<() => void>();

  constructor(private readonly options: { readonly catalog: Catalog; readonly log: Logger }) {}

  /**
   * `await using lock = await locks.acquire({ mode: 'shared', purpose: 'backup', … }, { signal })`. One that its holder
   * already has, from before a restart, is taken over.
   *
   * @throws `chain_busy` naming the holders, when it should not wait · the signal's reason
   */
  async acquire(request: ChainLockRequest, wait?: WaitOptions): Promise<ChainLock> {
    for (;;) {
      throwIfAborted(wait?.signal);
      // Before looking, so that a release in between is not missed.
      const released = this.#released.promise;
      const lock = await this.tryAcquire(request);
      if (lock) return lock;
      const holders = await this.holders(request);
      // It was released meanwhile.
      if (holders.length === 0) continue;
      if (!wait) throw chainBusy(request, holders);
      wait.onWaiting?.(describeHolders(holders));
      await untilAborted(released, wait.signal);
    }
  }

  /** Undefined when somebody is in the way: {@link holders} says who. */
  async tryAcquire(request: ChainLockRequest): Promise<ChainLock | undefined> {
    const { catalog, log } = this.options;
    if (!(await catalog.chainLocks.acquire(request))) return undefined;
    log.debug({ ...request }, 'chain locked');
    let kept = false;
    return {
      request,
      keep: () => {
        kept = true;
      },
      [Symbol.asyncDispose]: async () => {
        if (!kept) await this.release(request.holderId);
      },
    };
  }

  /** Who is in the way of this request. */
  holders(request: ChainLockRequest): Promise<ChainLockRecord[]> {
    return this.options.catalog.chainLocks.conflicts(request);
  }

  /** All locks of a holder; no error when it has none. */
  async release(holderId: string): Promise<void> {
    await this.options.catalog.chainLocks.release(holderId);
    this.#released.resolve();
    this.#released = Promise.withResolvers();
    for (const listener of this.#listeners) listener();
  }

  /** At the start: what tasks held that do not go on is free. Those of backups are the runs' own business. */
  async releaseEndedTasks(goOn: ReadonlySet<string>): Promise<void> {
    for (const { holderId, purpose } of await this.options.catalog.chainLocks.list()) {
      if (purpose === 'backup' || goOn.has(holderId)) continue;
      this.options.log.info({ holderId, purpose }, 'a lock of the hub that ended is released');
      await this.release(holderId);
    }
  }

  /** Called after each release. */
  onRelease(listener: () => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }
}

/** `remove task-4f2a, backup backup-pgtest1-…` */
export function describeHolders(holders: readonly ChainLockRecord[]): string {
  return holders.map(({ purpose, holderId }) => `${purpose} ${holderId}`).join(', ');
}

async function untilAborted(released: Promise<void>, signal: AbortSignal): Promise<void> {
  const aborted = Promise.withResolvers<void>();
  const wake = () => aborted.resolve();
  signal.addEventListener('abort', wake, { once: true });
  try {
    if (!signal.aborted) await Promise.race([released, aborted.promise]);
  } finally {
    signal.removeEventListener('abort', wake);
  }
}
