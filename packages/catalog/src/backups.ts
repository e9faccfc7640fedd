import { ACTIVE_BACKUP_STATES, BACKUP_STATES, printable, SendenseError } from '@sendense/core';
import type {
  BackupDiskChange,
  BackupRecord,
  BackupState,
  BackupStateChange,
  DiskProgressChange,
  PlannedDisk,
  SealRequest,
} from './backup-records.js';
import { beginBackup, plannedDiskRows, type BeginBackup } from './backup-begin.js';
import { toBackupRecord, withDisks, type BackupRow } from './backup-rows.js';
import { countBackups } from './backup-counts.js';
import { sealBackup } from './backup-seal.js';
import {
  requireActive,
  requireDisk,
  requireStep,
  toDiskColumns,
  toFullColumns,
  toStateColumns,
} from './backup-steps.js';
import { recordSweep, type Sweep } from './backup-sweep.js';
import { fromJson, oneOf, toBigInt } from './columns.js';
import { isForeignKeyViolation } from './database-errors.js';
import type { Database, Transaction } from './database.js';
import type { Prisma } from './gen/sqlite/client.js';
import { beyond, having, pageLimit, pagePosition, toPage, type Page, type PageRequest } from './paging.js';
import type { RestorePointRecord } from './restore-point-records.js';
import { errorToJson, type StoredWarning } from './stored-error.js';
import { count } from './tallies.js';
import { withChildren } from './with-children.js';

/** Tables `backup_jobs` and `backup_disks`. */
export class Backups {
  constructor(private readonly database: Database) {}

  /**
   * Records a new backup in state `queued`. Of two for one VM at the same time one wins.
   * @throws `backup_already_running` with `backup_id`; `vm_not_protected`; `repository_not_found`; `credentials_missing`;
   * `disk_set_changed` when the plan names a disk that the VM does not have
   */
  async begin(o: BeginBackup): Promise<BackupRecord> {
    return beginBackup(this.database, o);
  }

  /** Replaces the plan: a backup that waited is planned again. @throws `job_not_found`, `conflict` unless queued or preparing */
  async replan(id: string, disks: readonly PlannedDisk[]): Promise<BackupRecord> {
    return this.database.transaction(async (transaction) => {
      const row = await this.#row(transaction, id);
      if (row.state !== 'queued' && row.state !== 'preparing')
        throw new SendenseError('conflict', `${id} is ${row.state} and cannot be planned again`, {
          context: { backup_id: id, state: row.state },
        });
      const rows = await plannedDiskRows(transaction, row.contextId, disks);
      await transaction.backupDisk.deleteMany({ where: { backupId: id } });
      return toBackupRecord(
        await transaction.backupJob.update({
          where: { id },
          data: { disks: { create: rows } },
          include: withDisks,
        }),
      );
    });
  }

  /**
   * Moves the backup on. Ending it (`failed`, `cancelled`) also ends its unfinished disks, in the same transaction.
   * @throws `job_not_found`; `conflict` when that step is not possible from its present state
   */
  async changeState(id: string, change: BackupStateChange): Promise<BackupRecord> {
    return this.database.transaction(async (transaction) => {
      const row = await this.#row(transaction, id);
      requireStep(id, oneOf(BACKUP_STATES, row.state, 'state of a backup'), change.state);
      const data = toStateColumns(row, change, this.database.now());
      if (change.state === 'failed' || change.state === 'cancelled') {
        const error =
          change.state === 'failed'
            ? change.error
            : { code: 'cancelled' as const, message: `cancelled: ${change.cancelReason}`, context: {} };
        await transaction.backupDisk.updateMany({
          where: { backupId: id, status: { notIn: ['completed', 'failed', 'skipped'] } },
          data: { status: 'failed', error: errorToJson(error) },
        });
        await count(transaction, `backups/${change.state}`, 1);
      }
      return toBackupRecord(await transaction.backupJob.update({ where: { id }, data, include: withDisks }));
    });
  }

  /** @throws `job_not_found`, `conflict` when the backup has ended or the disk never had what this status needs */
  async changeDisk(id: string, diskKey: number, change: BackupDiskChange): Promise<void> {
    await this.database.transaction(async (transaction) => {
      const row = await this.#row(transaction, id);
      requireActive(row);
      const disk = requireDisk(row, diskKey);
      await transaction.backupDisk.update({
        where: { backupId_diskKey: { backupId: id, diskKey } },
        data: toDiskColumns(disk, change),
      });
    });
  }

  /**
   * A disk that was planned as incremental turned out to need reading in full: it has no parent and no earlier changeId
   * any more. A disk that is full already keeps the reason that it has.
   * @param o.reason stable, as in the plan; `detail` says in words what was found
   * @throws `job_not_found` also for a disk that it does not have; `conflict` when the backup has ended or the disk is skipped
   */
  async becomeFull(id: string, diskKey: number, o: { reason: string; detail?: string }): Promise<void> {
    await this.database.transaction(async (transaction) => {
      const row = await this.#row(transaction, id);
      requireActive(row);
      const data = toFullColumns(requireDisk(row, diskKey), o);
      await transaction.backupDisk.update({ where: { backupId_diskKey: { backupId: id, diskKey } }, data });
    });
  }

  /** Takes in what node events said; the number of the last event only grows. @throws `job_not_found` */
  async recordProgress(
    id: string,
    o: { lastEventSequence?: number; disks?: readonly DiskProgressChange[] },
  ): Promise<void> {
    await this.database.transaction(async (transaction) => {
      const row = await this.#row(transaction, id);
      if (o.lastEventSequence !== undefined && o.lastEventSequence > row.lastEventSequence)
        await transaction.backupJob.update({
          where: { id },
          data: { lastEventSequence: o.lastEventSequence },
        });
      for (const { diskKey, ...counts } of o.disks ?? []) {
        const data = Object.fromEntries(
          Object.entries(counts).map(([name, value]) => [name, toBigInt(value, name)]),
        );
        await transaction.backupDisk.updateMany({ where: { backupId: id, diskKey }, data });
      }
    });
  }

  /** @throws `job_not_found` */
  async recordSnapshot(
    id: string,
    o: {
      moref: string;
      name: string;
      quiesced: boolean;
      quiesceNote?: string;
      createdAt: Date;
      changeIds: readonly { diskKey: number; changeId: string }[];
    },
  ): Promise<void> {
    await this.database.transaction(async (transaction) => {
      await this.#row(transaction, id);
      await transaction.backupJob.update({
        where: { id },
        data: {
          snapshotMoref: o.moref,
          snapshotName: o.name,
          snapshotCreatedAt: o.createdAt,
          snapshotRemovedAt: null,
          quiesced: o.quiesced,
          quiesceNote: o.quiesceNote ?? null,
        },
      });
      for (const { diskKey, changeId } of o.changeIds)
        await transaction.backupDisk.updateMany({
          where: { backupId: id, diskKey },
          data: { changeId: changeId === '' ? null : changeId },
        });
    });
  }

  /** @throws `job_not_found` */
  async recordSnapshotRemoved(id: string): Promise<void> {
    const { count } = await this.database.run((client) =>
      client.backupJob.updateMany({ where: { id }, data: { snapshotRemovedAt: this.database.now() } }),
    );
    if (count === 0) throw jobNotFound(id);
  }

  /** Which snapshots of this VM are gone now. */
  async recordSnapshotsSwept(contextId: string, sweep: Sweep): Promise<void> {
    await recordSweep(this.database, contextId, sweep);
  }

  /** @throws `job_not_found` */
  async addWarning(id: string, warning: StoredWarning): Promise<void> {
    await this.database.transaction(async (transaction) => {
      const row = await this.#row(transaction, id);
      const warnings = fromJson(row.warnings, 'the warnings of a backup') as StoredWarning[];
      const data = { warnings: JSON.stringify([...warnings, warning]) };
      await transaction.backupJob.update({ where: { id }, data });
    });
  }

  /**
   * Commits restore point, its disks, their changeIds and the end of the backup in one transaction. Doing it again for a
   * completed backup returns the same point.
   * @throws `job_not_found`; `conflict` unless it is sealing and what it builds on is there; `invalid_argument` when the disks are not exactly its own
   */
  async seal(id: string, o: SealRequest): Promise<RestorePointRecord> {
    try {
      return await this.database.transaction(async (transaction) =>
        sealBackup(transaction, await this.#row(transaction, id), o, this.database.now()),
      );
    } catch (error) {
      if (!isForeignKeyViolation(error)) throw error;
      throw new SendenseError(
        'conflict',
        `${id} cannot be sealed: a restore point that it builds on, its VM or its repository is no longer in the catalogue`,
        { cause: error, context: { backup_id: id } },
      );
    }
  }

  async find(id: string): Promise<BackupRecord | undefined> {
    const row = await this.database.run((client) =>
      client.backupJob.findUnique({ where: { id }, include: withDisks }),
    );
    return row ? toBackupRecord(row) : undefined;
  }

  /** @throws `job_not_found` */
  async get(id: string): Promise<BackupRecord> {
    const found = await this.find(id);
    if (!found) throw jobNotFound(id);
    return found;
  }

  /** Newest first. */
  async list(
    o: PageRequest & {
      state?: BackupState;
      vmName?: string;
      contextId?: string;
      repositoryId?: string;
    } = {},
  ): Promise<Page<BackupRecord>> {
    const limit = pageLimit(o);
    const before = pagePosition(o);
    const { contextId, vmName, repositoryId, state } = o;
    const asRanges = this.database.pagesByRange && before !== undefined;
    const values = { contextId, vmName, repositoryId, state };
    const { where, orderBy } = having(values, { order: 'desc', asRanges, narrow: ['contextId', 'vmName'] });
    const rows = await this.#rows({
      where: { ...where, ...beyond(before, 'older', 'createdAt', 'id') },
      orderBy: [...orderBy, { createdAt: 'desc' }, { id: 'desc' }],
      take: limit + 1,
    });
    return toPage(rows, limit, (row) => ({ at: row.createdAt, id: row.id }), toBackupRecord);
  }

  /** Every backup that has not ended, oldest first: the queue, and what a start reconciles. */
  async active(): Promise<BackupRecord[]> {
    const rows = await this.#rows({
      where: { state: { in: [...ACTIVE_BACKUP_STATES] } },
      orderBy: [{ createdAt: 'asc' }, { id: 'asc' }],
    });
    return rows.map(toBackupRecord);
  }

  /** For metrics. */
  async countByState(): Promise<Record<BackupState, number>> {
    return countBackups(this.database);
  }

  async #rows(query: Prisma.BackupJobFindManyArgs): Promise<BackupRow[]> {
    return this.database.run(async (client) =>
      withChildren(
        'disks',
        await client.backupJob.findMany(query),
        ({ id }) => id,
        (ids) => client.backupDisk.findMany({ where: { backupId: { in: ids } } }),
        ({ backupId }) => backupId,
      ),
    );
  }

  async #row(transaction: Transaction, id: string) {
    const row = await transaction.backupJob.findUnique({ where: { id }, include: withDisks });
    if (!row) throw jobNotFound(id);
    return row;
  }
}

function jobNotFound(id: string): SendenseError {
  return new SendenseError('job_not_found', `there is no backup ${printable(id)}`, {
    context: { backup_id: id },
  });
}
