import { SendenseError } from '@sendense/core';
import { oneOf } from './columns.js';
import type { Database, Transaction } from './database.js';
import type { Prisma } from './gen/sqlite/client.js';
import { requireText } from './text-limits.js';

const LOCK_MODES = ['shared', 'exclusive'] as const;
export type ChainLockMode = (typeof LOCK_MODES)[number];

/** The restore points of one VM in one repository. */
export interface ChainRef {
  readonly contextId: string;
  readonly repositoryId: string;
}

export interface ChainLockRecord extends ChainRef {
  /** `shared`: reads, or adds at the end. `exclusive`: changes what others may be reading. */
  readonly mode: ChainLockMode;
  /** For people: `verify`, `remove`, `backup`, … */
  readonly purpose: string;
  /** Of a task or of a backup. */
  readonly holderId: string;
  readonly acquiredAt: Date;
}

/** Table `chain_locks`: locks that survive a restart, because what they protect against does too. */
export class ChainLocks {
  constructor(private readonly database: Database) {}

  /**
   * Takes the lock, or says that others are in the way by `undefined`: an exclusive one stands alone, shared ones stand
   * beside each other. One transaction, so of two that cannot be together one wins. Who holds it already gets it again,
   * in the stronger of both modes: a restart takes up what it had.
   * @throws `invalid_argument` for an empty or overlong purpose
   */
  async acquire(
    o: ChainRef & { mode: ChainLockMode; purpose: string; holderId: string },
  ): Promise<ChainLockRecord | undefined> {
    const purpose = requireText('the purpose of a lock', o.purpose);
    return this.database.transaction(async (transaction) => {
      const { contextId, repositoryId, holderId } = o;
      const held = await transaction.chainLock.findUnique({
        where: { contextId_repositoryId_holderId: { contextId, repositoryId, holderId } },
      });
      const mode = held?.mode === 'exclusive' ? 'exclusive' : o.mode;
      if ((await inTheWay(transaction, { ...o, mode })).length > 0) return undefined;
      const row = held
        ? await transaction.chainLock.update({ where: { id: held.id }, data: { mode, purpose } })
        : await transaction.chainLock.create({
            data: { contextId, repositoryId, mode, purpose, holderId, acquiredAt: this.database.now() },
          });
      return toRecord(row);
    });
  }

  /** Who would refuse such a lock, the longest holding first. A holder is never in its own way. */
  async conflicts(o: ChainRef & { mode: ChainLockMode; holderId?: string }): Promise<ChainLockRecord[]> {
    return (await this.database.run((client) => inTheWay(client, o))).map(toRecord);
  }

  /** Gives up all locks of a holder. @returns how many; 0 is no error */
  async release(holderId: string): Promise<number> {
    const { count } = await this.database.run((client) =>
      client.chainLock.deleteMany({ where: { holderId } }),
    );
    return count;
  }

  /** All of them, or those of one chain, the longest holding first. */
  async list(chain?: ChainRef): Promise<ChainLockRecord[]> {
    const rows = await this.database.run((client) =>
      client.chainLock.findMany({
        where: chain ? { contextId: chain.contextId, repositoryId: chain.repositoryId } : {},
        orderBy: { id: 'asc' },
      }),
    );
    return rows.map(toRecord);
  }
}

/** What to tell somebody who needs a chain that others have. @param holders from {@link ChainLocks.conflicts} */
export function chainBusy(chain: ChainRef, holders: readonly ChainLockRecord[]): SendenseError {
  const who = holders.map(({ purpose, holderId }) => `${purpose} (${holderId})`).join(', ');
  return new SendenseError(
    'chain_busy',
    `the restore points of ${chain.contextId} in ${chain.repositoryId} are in use: ${who || 'by another task'}; wait for it, or cancel it`,
    {
      retryable: true,
      context: {
        context_id: chain.contextId,
        repository_id: chain.repositoryId,
        holder_ids: holders.map(({ holderId }) => holderId).join(', '),
      },
    },
  );
}

async function inTheWay(transaction: Transaction, o: ChainRef & { mode: ChainLockMode; holderId?: string }) {
  return transaction.chainLock.findMany({
    where: {
      contextId: o.contextId,
      repositoryId: o.repositoryId,
      ...(o.mode === 'shared' ? { mode: 'exclusive' } : {}),
      ...(o.holderId === undefined ? {} : { holderId: { not: o.holderId } }),
    },
    orderBy: { id: 'asc' },
  });
}

function toRecord(row: Prisma.ChainLockGetPayload<object>): ChainLockRecord {
  const { contextId, repositoryId, purpose, holderId, acquiredAt } = row;
  const mode = oneOf(LOCK_MODES, row.mode, 'mode of a lock');
  return { contextId, repositoryId, mode, purpose, holderId, acquiredAt };
}
