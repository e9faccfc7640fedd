import { SendenseError } from '@sendense/core';
import type { BackupType } from './backup-records.js';
import { toBigInt } from './columns.js';
import { isForeignKeyViolation } from './database-errors.js';
import type { Database, Transaction } from './database.js';
import {
  pointNotFound,
  toPointRecord,
  withPointDisks,
  type RestorePointRecord,
} from './restore-point-records.js';
import { count, pointsIn } from './tallies.js';

/** A disk of a child that has taken over the data of a removed point. */
export interface MergedDisk {
  readonly diskNumber: number;
  readonly backupType: BackupType;
  /** What it builds on now; with `incremental` alone. */
  readonly parentPointId?: string;
  /** What its image occupies now. */
  readonly storedBytes: number;
}

/** A point that was built on a removed one. */
export interface MergedPoint {
  readonly pointId: string;
  /** `incremental` when any of its disks is. */
  readonly type: BackupType;
  /** Those that changed. */
  readonly disks: readonly MergedDisk[];
}

/** See {@link RestorePoints.beginRemoval}. */
export async function beginRemoval(transaction: Transaction, id: string): Promise<RestorePointRecord> {
  const row = await transaction.restorePoint.findUnique({ where: { id }, include: { mounts: true } });
  if (!row) throw pointNotFound(id);
  if (row.heldAt !== null) {
    throw new SendenseError(
      'restore_point_held',
      `${id} is held (${row.holdReason ?? ''}): release it first with 'sendense restore-point release ${id}'`,
      { context: { restore_point_id: id, hold_reason: row.holdReason ?? '' } },
    );
  }
  const [mount] = row.mounts;
  if (mount) {
    throw new SendenseError(
      'chain_busy',
      `${id} is mounted for a restore (${mount.id}): end it first, then remove the restore point`,
      { context: { restore_point_id: id, restore_mount_id: mount.id }, retryable: true },
    );
  }
  return setState(transaction, id, 'removing');
}

/** See {@link RestorePoints.cancelRemoval}. */
export async function cancelRemoval(transaction: Transaction, id: string): Promise<RestorePointRecord> {
  if (!(await transaction.restorePoint.findUnique({ where: { id } }))) throw pointNotFound(id);
  return setState(transaction, id, 'sealed');
}

/** See {@link RestorePoints.concludeRemoval}. */
export async function concludeRemoval(
  database: Database,
  id: string,
  children: readonly MergedPoint[],
): Promise<void> {
  try {
    await database.transaction(async (transaction) => {
      const row = await transaction.restorePoint.findUnique({ where: { id } });
      if (!row) return;
      if (row.state !== 'removing') {
        throw new SendenseError('conflict', `${id} is ${row.state}: its removal was not decided`, {
          context: { restore_point_id: id, state: row.state },
        });
      }
      for (const child of children) await updateChild(transaction, child);
      const left = await transaction.restorePointDisk.findFirst({ where: { parentPointId: id } });
      if (left) throw stillNeeded(id, left.restorePointId);
      await transaction.restorePoint.delete({ where: { id } });
      await count(transaction, pointsIn(row.repositoryId), -1);
    });
  } catch (error) {
    // A mount of it, or a new parent that is not in the catalogue.
    if (isForeignKeyViolation(error)) throw stillNeeded(id, undefined, error);
    throw error;
  }
}

async function setState(
  transaction: Transaction,
  id: string,
  state: RestorePointRecord['state'],
): Promise<RestorePointRecord> {
  return toPointRecord(
    await transaction.restorePoint.update({ where: { id }, data: { state }, include: withPointDisks }),
  );
}

async function updateChild(transaction: Transaction, child: MergedPoint): Promise<void> {
  const { pointId, type } = child;
  const { count } = await transaction.restorePoint.updateMany({ where: { id: pointId }, data: { type } });
  if (count === 0) throw pointNotFound(pointId);
  for (const { diskNumber, backupType, parentPointId, storedBytes } of child.disks) {
    if ((backupType === 'incremental') !== (parentPointId !== undefined)) {
      throw new SendenseError(
        'invalid_argument',
        `disk ${diskNumber} of ${pointId} is ${backupType} ${parentPointId === undefined ? 'without' : 'with'} a parent`,
        { context: { restore_point_id: pointId, disk_number: diskNumber } },
      );
    }
    const changed = await transaction.restorePointDisk.updateMany({
      where: { restorePointId: pointId, diskNumber },
      data: {
        backupType,
        parentPointId: parentPointId ?? null,
        storedBytes: toBigInt(storedBytes, 'storedBytes'),
      },
    });
    if (changed.count === 0) {
      throw new SendenseError('not_found', `${pointId} has no disk ${diskNumber}`, {
        context: { restore_point_id: pointId, disk_number: diskNumber },
      });
    }
  }
}

function stillNeeded(id: string, childId: string | undefined, cause?: unknown): SendenseError {
  const why =
    childId === undefined
      ? 'it is mounted, or a point that builds on it was given a parent that is not in the catalogue'
      : `${childId} still builds on it`;
  return new SendenseError('conflict', `${id} cannot leave the catalogue: ${why}`, {
    cause,
    context: { restore_point_id: id, ...(childId === undefined ? {} : { child_point_id: childId }) },
  });
}
