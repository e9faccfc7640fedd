import { SendenseError } from '@sendense/core';
import { ancestry, offspring, type ChainLink } from './chain-walk.js';
import type { Database, Transaction } from './database.js';
import type { Prisma } from './gen/sqlite/client.js';
import { beyond, having, pageLimit, pagePosition, toPage, type Page, type PageRequest } from './paging.js';
import { importPoint, type ImportedPoint, type ImportResult } from './restore-point-import.js';
import {
  NEWEST_FIRST,
  pointNotFound,
  toPointRecord,
  withPointDisks,
  type PointRow,
  type RestorePointRecord,
  type VerificationOutcome,
} from './restore-point-records.js';
import { beginRemoval, cancelRemoval, concludeRemoval, type MergedPoint } from './restore-point-removal.js';
import { MAX_REASON_LENGTH, requireText, storableText } from './text-limits.js';
import { withChildren } from './with-children.js';

/** Of a query that names rows one by one. */
const MAX_IDS = 500;

/** Tables `restore_points` and `restore_point_disks`. Points are made by sealing a backup, or found again by a rescan. */
export class RestorePoints {
  constructor(private readonly database: Database) {}

  async find(id: string): Promise<RestorePointRecord | undefined> {
    const row = await this.database.run((client) =>
      client.restorePoint.findUnique({ where: { id }, include: withPointDisks }),
    );
    return row ? toPointRecord(row) : undefined;
  }

  /** @throws `not_found` */
  async get(id: string): Promise<RestorePointRecord> {
    const found = await this.find(id);
    if (!found) throw pointNotFound(id);
    return found;
  }

  /** The newest sealed point of a VM in a repository, be it suspect: planning says what it means for an incremental. */
  async latest(contextId: string, repositoryId: string): Promise<RestorePointRecord | undefined> {
    const row = await this.database.run((client) =>
      client.restorePoint.findFirst({
        where: { contextId, repositoryId, state: 'sealed' },
        include: withPointDisks,
        orderBy: NEWEST_FIRST,
      }),
    );
    return row ? toPointRecord(row) : undefined;
  }

  /** Newest first; those that are being removed too: see their `state`. @throws `invalid_argument` for limit or cursor */
  async list(
    o: PageRequest & { contextId?: string; repositoryId?: string; vmName?: string } = {},
  ): Promise<Page<RestorePointRecord>> {
    const limit = pageLimit(o);
    const before = pagePosition(o);
    const { contextId, repositoryId, vmName } = o;
    const asRanges = this.database.pagesByRange && before !== undefined;
    const { where, orderBy } = having({ contextId, vmName, repositoryId }, { order: 'desc', asRanges });
    const rows = await this.#rows({
      where: { ...where, ...beyond(before, 'older', 'takenAt', 'id') },
      orderBy: [...orderBy, ...NEWEST_FIRST],
      take: limit + 1,
    });
    return toPage(rows, limit, (row) => ({ at: row.takenAt, id: row.id }), toPointRecord);
  }

  /** All points of a VM in a repository, newest first, those that are being removed included. */
  async ofContext(contextId: string, repositoryId: string): Promise<RestorePointRecord[]> {
    return this.#all({ contextId, repositoryId });
  }

  /** The VMs that have points in a repository, those that are being removed included, by their contexts. */
  async contextsIn(repositoryId: string): Promise<string[]> {
    const rows = await this.database.run((client) =>
      client.restorePoint.groupBy({ by: ['contextId'], where: { repositoryId } }),
    );
    return rows.map(({ contextId }) => contextId);
  }

  /** Those whose removal was decided and is not finished, newest first: what a start goes on with. */
  async removing(): Promise<RestorePointRecord[]> {
    return this.#all({ state: 'removing' });
  }

  /** The point and all that any of its disks builds on, newest first. @throws `not_found` */
  async chain(id: string): Promise<RestorePointRecord[]> {
    return this.#related(id, ancestry);
  }

  /** The points with a disk that builds directly on this one, newest first; empty also when there is no such point. */
  async children(id: string): Promise<RestorePointRecord[]> {
    const disks = await this.database.run((client) =>
      client.restorePointDisk.findMany({ where: { parentPointId: id }, select: { restorePointId: true } }),
    );
    const ids = new Set(disks.map(({ restorePointId }) => restorePointId));
    return ids.size === 0 ? [] : this.#all({ id: { in: [...ids] } });
  }

  /** All points that build on this one with any disk, at any distance, newest first. @throws `not_found` */
  async descendants(id: string): Promise<RestorePointRecord[]> {
    return this.#related(id, offspring);
  }

  /**
   * Puts points in doubt; a point that is suspect already keeps its first reason, an unknown id is passed over.
   * @param reason in words, for people
   * @returns how many are suspect now that were not before
   * @throws `invalid_argument` for an empty reason
   */
  async markSuspect(ids: readonly string[], reason: string): Promise<number> {
    const suspectReason = requireText(
      'why a restore point is suspect',
      storableText(reason, Infinity),
      Infinity,
    );
    const { count } = await this.database.run((client) =>
      client.restorePoint.updateMany({
        where: { id: { in: [...ids] }, suspect: false },
        data: { suspect: true, suspectReason },
      }),
    );
    return count;
  }

  /**
   * Takes down how a verification ended. A failed one, of either kind, makes this point suspect (points that build on it
   * are the caller's: {@link markSuspect}); a full one that passed clears the doubt about this point.
   * @throws `not_found`
   */
  async recordVerification(
    id: string,
    o: { outcome: VerificationOutcome; full: boolean; at: Date; detail?: string },
  ): Promise<RestorePointRecord> {
    const detail = o.detail === undefined ? null : storableText(o.detail, Infinity);
    return this.#update(id, () => ({
      verification: o.outcome,
      verifiedAt: o.at,
      verifiedFull: o.full,
      verificationDetail: detail,
      ...(o.full ? { fullyVerifiedAt: o.at } : {}),
      ...(o.outcome === 'failed'
        ? { suspect: true, suspectReason: detail ?? 'its verification failed' }
        : {}),
      ...(o.outcome === 'passed' && o.full ? { suspect: false, suspectReason: null } : {}),
    }));
  }

  /**
   * Keeps the point whatever a policy says, and refuses its removal. Again replaces the reason.
   * @throws `not_found`; `conflict` when it is being removed; `invalid_argument` for an empty or overlong reason
   */
  async hold(id: string, reason: string): Promise<RestorePointRecord> {
    const holdReason = requireText('the reason of a hold', reason, MAX_REASON_LENGTH);
    return this.#update(id, (row) => {
      if (row.state !== 'sealed')
        throw new SendenseError('conflict', `${id} is being removed and cannot be held any more`, {
          context: { restore_point_id: id, state: row.state },
        });
      return { heldAt: row.heldAt ?? this.database.now(), holdReason };
    });
  }

  /** Ends a hold; without one nothing happens. @throws `not_found` */
  async release(id: string): Promise<RestorePointRecord> {
    return this.#update(id, () => ({ heldAt: null, holdReason: null }));
  }

  /**
   * Decides that the point goes: `sealed` becomes `removing`; again is no error.
   * @throws `not_found`; `restore_point_held`; `chain_busy` while it is mounted for a restore
   */
  async beginRemoval(id: string): Promise<RestorePointRecord> {
    return this.database.transaction((transaction) => beginRemoval(transaction, id));
  }

  /** Takes the decision back, which the caller must know to be possible; on a sealed point nothing happens. @throws `not_found` */
  async cancelRemoval(id: string): Promise<RestorePointRecord> {
    return this.database.transaction((transaction) => cancelRemoval(transaction, id));
  }

  /**
   * Ends a removal whose files are done, in one transaction: the children that took its data over get their new parents
   * and sizes, and the point is deleted. When it is gone already nothing happens, so a restart may do it again.
   * @throws `conflict` unless it is `removing` and nothing builds on it any more or has it mounted; `not_found` for a child
   * or a disk of it; `invalid_argument` for an incremental disk without a parent
   */
  async concludeRemoval(id: string, children: readonly MergedPoint[]): Promise<void> {
    await concludeRemoval(this.database, id, children);
  }

  /** Sealed points to verify next: never fully verified ones first, oldest first, then the longest ago verified. */
  async oldestVerified(limit: number): Promise<RestorePointRecord[]> {
    const rows = await this.#rows({
      where: { state: 'sealed' },
      // SQLite and MariaDB both sort nulls before everything else.
      orderBy: [{ fullyVerifiedAt: 'asc' }, { takenAt: 'asc' }, { id: 'asc' }],
      take: limit,
    });
    return rows.map(toPointRecord);
  }

  /**
   * Takes in a point that a manifest describes, with the VM's context and its disks where the catalogue does not know
   * them (a context made so has no vCenter until the VM is protected again). The same point again changes nothing.
   * Import parents before children.
   * @throws `conflict` when the id, the VM or one of the disks is known as something else, or while the backup that makes
   * the point has not ended; `repository_not_found`;
   * `chain_damaged` when a parent is not in the catalogue as a point of the same VM and repository; `invalid_argument`
   */
  async importPoint(point: ImportedPoint): Promise<ImportResult> {
    return this.database.transaction((transaction) => importPoint(transaction, point, this.database.now()));
  }

  /**
   * Points of the same VM in the same repository, newest first: of a history of years only who builds on whom is read, and
   * those that are asked for.
   * @throws `not_found`
   */
  async #related(
    id: string,
    walk: (links: readonly ChainLink[], id: string) => Set<string>,
  ): Promise<RestorePointRecord[]> {
    return this.database.run(async (client) => {
      const ofSame = { contextId: true, repositoryId: true };
      const same = await client.restorePoint.findUnique({ where: { id }, select: ofSame });
      if (!same) throw pointNotFound(id);
      const links = await client.restorePointDisk.findMany({
        where: { restorePoint: same },
        select: { restorePointId: true, parentPointId: true },
      });
      const ids = walk(links, id);
      if (ids.size === 0) return [];
      // Prisma can divide a list of ids that is too long for SQLite only where nothing is sorted.
      const where = ids.size > MAX_IDS ? same : { ...same, id: { in: [...ids] } };
      const rows = await rowsOf(client, { where, orderBy: NEWEST_FIRST });
      return rows.filter((row) => ids.has(row.id)).map(toPointRecord);
    });
  }

  async #all(where: Prisma.RestorePointWhereInput): Promise<RestorePointRecord[]> {
    return (await this.#rows({ where, orderBy: NEWEST_FIRST })).map(toPointRecord);
  }

  async #rows(query: Prisma.RestorePointFindManyArgs): Promise<PointRow[]> {
    return this.database.run((client) => rowsOf(client, query));
  }

  /** @throws `not_found` */
  async #update(
    id: string,
    change: (row: RestorePointRecord) => Prisma.RestorePointUpdateInput,
  ): Promise<RestorePointRecord> {
    return this.database.transaction(async (transaction: Transaction) => {
      const row = await transaction.restorePoint.findUnique({ where: { id }, include: withPointDisks });
      if (!row) throw pointNotFound(id);
      const data = change(toPointRecord(row));
      return toPointRecord(
        await transaction.restorePoint.update({ where: { id }, data, include: withPointDisks }),
      );
    });
  }
}

async function rowsOf(client: Transaction, query: Prisma.RestorePointFindManyArgs): Promise<PointRow[]> {
  return withChildren(
    'disks',
    await client.restorePoint.findMany(query),
    ({ id }) => id,
    (ids) => client.restorePointDisk.findMany({ where: { restorePointId: { in: ids } } }),
    ({ restorePointId }) => restorePointId,
  );
}
