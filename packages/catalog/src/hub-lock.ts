import { createHash } from 'node:crypto';
import { SendenseError, toSendenseError } from '@sendense/core';
import { delay, type Logger } from '@sendense/runtime';
import type { Connection } from 'mariadb';
import { databaseError } from './database-errors.js';
import { connectMariaDb } from './mariadb.js';
import type { MariaDbTarget } from './mariadb-target.js';

/** A hub that was stopped a moment ago may still be about to let go. */
const WAIT_S = 5;
/** How often it is looked whether the connection is still there, and how soon after a failure it is tried again. */
const LOOK_EVERY_MS = 10_000;
const RETRY_MS = 500;
/** What needs the database waits so long for one that is started again, as it does for its own connection. */
const PATIENCE_MS = 15_000;
/** A machine that died without a word is noticed by the server after so long. */
const SILENCE_S = 45;

/**
 * Makes a process the only hub on a database, as the lock of the data directory does for SQLite. It is a lock of the server
 * (`GET_LOCK`) that belongs to a connection of its own: when the process dies the connection ends, and the lock with it.
 *
 * When only the connection is lost, the lock is taken again as soon as the server answers. Meanwhile nobody may use the
 * database ({@link held} waits). When another hub was quicker, the database is that hub's: {@link takenOver} settles.
 */
export class HubLock implements AsyncDisposable {
  #connection: Connection | undefined;
  #held = Promise.withResolvers<void>();
  #lostAt: number | undefined;
  readonly #takenOver = Promise.withResolvers<SendenseError>();
  readonly #stop = new AbortController();
  #watching: Promise<void> | undefined;

  private constructor(
    private readonly target: MariaDbTarget,
    private readonly log: Logger,
  ) {}

  /** @throws `catalog_in_use` naming the host of the hub that has it; `catalog_unreachable`, … */
  static async acquire(target: MariaDbTarget, log: Logger): Promise<HubLock> {
    const lock = new HubLock(target, log);
    try {
      await lock.#take(WAIT_S);
    } catch (error) {
      throw databaseError(error, target.label);
    }
    lock.#watching = lock.#watch();
    return lock;
  }

  /**
   * Resolves while the lock is held, and waits a while when it is being taken again.
   * @throws `catalog_in_use` when another hub has it, `catalog_unreachable` while the server does not answer
   */
  async held(): Promise<void> {
    if (this.#lostAt === undefined) return;
    const enough = new AbortController();
    const left = Math.max(0, this.#lostAt + PATIENCE_MS - performance.now());
    const late = delay(left, enough.signal).then(
      () => {
        throw databaseUnreachable(this.target.label);
      },
      () => undefined,
    );
    try {
      await Promise.race([this.#held.promise, late]);
    } finally {
      enough.abort();
    }
  }

  /** Settles when another hub has taken the database over; else never. */
  get takenOver(): Promise<SendenseError> {
    return this.#takenOver.promise;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#watching;
    const connection = this.#connection;
    await connection?.end().catch(() => connection.destroy());
  }

  async #take(waitSeconds: number): Promise<void> {
    const connection = await connectMariaDb(this.target, {
      sessionVariables: { wait_timeout: SILENCE_S },
    });
    try {
      const name = lockName(this.target.database);
      const [row] = await connection.query<{ got: number | bigint | null }[]>(
        'SELECT GET_LOCK(?, ?) AS got',
        [name, waitSeconds],
      );
      if (Number(row?.got) !== 1) throw await inUse(connection, name, this.target);
    } catch (error) {
      connection.destroy();
      throw error;
    }
    this.#connection = connection;
    this.#lostAt = undefined;
    this.#held.resolve();
  }

  /** Never rejects. */
  async #watch(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      if (await this.#stays()) continue;
      if (signal.aborted) return;
      this.#connection?.destroy();
      this.#held = Promise.withResolvers();
      this.#lostAt = performance.now();
      // Somebody may be waiting for it, or nobody.
      this.#held.promise.catch(() => {});
      this.log.warn({ database: this.target.label }, 'the lock of the catalogue is lost, and taken again');
      if (!(await this.#takeAgain())) return;
    }
  }

  /** Waits for the next look. @returns whether the lock is still there then */
  async #stays(): Promise<boolean> {
    const connection = this.#connection;
    if (!connection) return false;
    const ended = new AbortController();
    const end = () => ended.abort();
    const events = ['error', 'end'] as const;
    for (const event of events) connection.on(event, end);
    await delay(LOOK_EVERY_MS, AbortSignal.any([ended.signal, this.#stop.signal])).catch(() => undefined);
    // The connection lives as long as the hub: listeners that stay would gather.
    for (const event of events) connection.off(event, end);
    if (ended.signal.aborted || this.#stop.signal.aborted) return false;
    return connection.ping().then(
      () => true,
      () => false,
    );
  }

  /** @returns false when there is nothing to watch any more */
  async #takeAgain(): Promise<boolean> {
    const { signal } = this.#stop;
    for (;;) {
      try {
        await this.#take(0);
        this.log.info({ database: this.target.label }, 'the lock of the catalogue is held again');
        return true;
      } catch (error) {
        const known = toSendenseError(databaseError(error, this.target.label));
        if (known.code === 'catalog_in_use') {
          this.#held.reject(known);
          this.#takenOver.resolve(known);
          return false;
        }
        this.log.debug({ error: known.message }, 'the lock of the catalogue cannot be taken yet');
      }
      await delay(RETRY_MS, signal).catch(() => undefined);
      if (!signal.aborted) continue;
      this.#held.reject(new SendenseError('shutting_down', 'the catalogue is closed', { retryable: true }));
      return false;
    }
  }
}

/** Names of locks are the server's, not the database's, and have 64 characters at most. */
function lockName(database: string): string {
  return `sendense-hub-${createHash('sha256').update(database).digest('hex').slice(0, 32)}`;
}

function databaseUnreachable(label: string): SendenseError {
  return new SendenseError(
    'catalog_unreachable',
    `the catalogue ${label} cannot be reached: see that the server runs`,
    { retryable: true, context: { path: label } },
  );
}

async function inUse(connection: Connection, name: string, { label }: MariaDbTarget): Promise<SendenseError> {
  const [holder] = await connection.query<{ host: string }[]>(
    'SELECT HOST AS host FROM information_schema.PROCESSLIST WHERE ID = IS_USED_LOCK(?)',
    [name],
  );
  // A server without accounts does not know from where.
  const who = holder?.host ? ` (connected from ${holder.host})` : '';
  return new SendenseError(
    'catalog_in_use',
    `the catalogue ${label} is in use by another hub${who}: stop that one first, or give this one a database of its own. ` +
      `If its machine died, the server notices within ${SILENCE_S} s`,
    { context: { path: label, ...(holder === undefined ? {} : { host: holder.host }) } },
  );
}
