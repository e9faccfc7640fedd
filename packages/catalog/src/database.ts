import { SendenseError } from '@sendense/core';
import type { Logger } from '@sendense/runtime';
import { commitUnknown, databaseError, isBusy, isConnectionLost, isRolledBack } from './database-errors.js';
import type { Prisma, PrismaClient } from './gen/sqlite/client.js';
import type { Migration } from './migrate.js';

export type Transaction = Prisma.TransactionClient;

export interface DatabaseOptions {
  readonly log: Logger;
  readonly migrations: readonly Migration[];
  readonly now: () => Date;
}

/** What a kind of database has to bring. */
export interface OpenedDatabase {
  /** Both generated clients are made from the same models; the one of SQLite lends its types to the other. */
  readonly client: PrismaClient;
  /** For messages: a path, or a URL without secrets. */
  readonly name: string;
  /** Name of the newest migration that is applied. */
  readonly schemaVersion: string;
  readonly now: () => Date;
  /** Whether a page after a cursor is found well only when its filters are written as ranges: see `having` in paging.ts. */
  readonly pagesByRange: boolean;
  /** Before anything is asked: waits, or throws, while this process may not. */
  readonly mayUse?: (() => Promise<void>) | undefined;
}

const ATTEMPTS = 5;
/** What a transaction has read still holds when it commits; SQLite knows no other way, other databases have to be told. */
const TRANSACTION_OPTIONS = { maxWait: 30_000, isolationLevel: 'Serializable' } as const;
const TRANSACTION_TIMEOUT_MS = 30_000;

/**
 * The one connection to the database. Work on it runs one after another: the adapter has a single connection, and a
 * query from elsewhere would otherwise slip into whatever transaction is open, and be rolled back with it.
 */
export class Database implements AsyncDisposable {
  #last: Promise<unknown> = Promise.resolve();
  #closed = false;

  constructor(private readonly opened: OpenedDatabase) {}

  get schemaVersion(): string {
    return this.opened.schemaVersion;
  }

  get pagesByRange(): boolean {
    return this.opened.pagesByRange;
  }

  now(): Date {
    return this.opened.now();
  }

  /** Runs queries that only read, or one statement that writes; they may run again when the database took them back. */
  async run<T>(work: (client: Transaction) => Promise<T>): Promise<T> {
    return this.#enqueue(async () => {
      for (let attempt = 1; ; attempt++) {
        try {
          return await work(this.opened.client);
        } catch (error) {
          if (!isRolledBack(error) || attempt === ATTEMPTS) throw error;
        }
      }
    });
  }

  /**
   * Runs `work` in one transaction. It may run again, so it must do nothing else: after a collision with another process,
   * and after a lost connection, unless it was lost at the commit, of which nobody knows then whether it took place.
   */
  async transaction<T>(
    work: (transaction: Transaction) => Promise<T>,
    { timeoutMs = TRANSACTION_TIMEOUT_MS } = {},
  ): Promise<T> {
    return this.#enqueue(async () => {
      for (let attempt = 1; ; attempt++) {
        let committing = false;
        try {
          return await this.opened.client.$transaction(
            async (transaction) => {
              const result = await work(transaction);
              committing = true;
              return result;
            },
            { ...TRANSACTION_OPTIONS, timeout: timeoutMs },
          );
        } catch (error) {
          const lost = isConnectionLost(error);
          if (lost && committing) throw commitUnknown(error, this.opened.name);
          if ((!isBusy(error) && !lost) || attempt === ATTEMPTS) throw error;
        }
      }
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#last;
    await this.opened.client.$disconnect();
  }

  #enqueue<T>(work: () => Promise<T>): Promise<T> {
    if (this.#closed)
      return Promise.reject(
        new SendenseError('shutting_down', 'the catalogue is closed', { retryable: true }),
      );
    const allowed = this.#last.then(() => this.opened.mayUse?.());
    const result = allowed.then(work).catch((error: unknown) => {
      throw databaseError(error, this.opened.name);
    });
    this.#last = result.catch(() => {});
    return result;
  }
}
