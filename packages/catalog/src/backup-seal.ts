import { SendenseError } from '@sendense/core';
import type { SealedDisk, SealRequest } from './backup-records.js';
import type { BackupRow } from './backup-rows.js';
import { toBigInt } from './columns.js';
import type { Transaction } from './database.js';
import { toPointRecord, withPointDisks, type RestorePointRecord } from './restore-point-records.js';
import { count, pointsIn } from './tallies.js';

/** See {@link Backups.seal}: everything in the caller's transaction. */
export async function sealBackup(
  transaction: Transaction,
  row: BackupRow,
  o: SealRequest,
  sealedAt: Date,
): Promise<RestorePointRecord> {
  if (row.state === 'completed') {
    const point = await transaction.restorePoint.findUnique({
      where: { id: row.id },
      include: withPointDisks,
    });
    if (point) return toPointRecord(point);
  }
  if (row.state !== 'sealing') {
    throw new SendenseError('conflict', `${row.id} is ${row.state} and cannot be sealed`, {
      context: { backup_id: row.id, state: row.state },
    });
  }
  const disks = sealedDiskRows(row, o);
  const point = await transaction.restorePoint.create({
    data: {
      id: row.id,
      contextId: row.contextId,
      vmName: row.vmName,
      vmInstanceUuid: row.vmInstanceUuid,
      repositoryId: row.repositoryId,
      type: disks.some((disk) => disk.backupType === 'incremental') ? 'incremental' : 'full',
      takenAt: o.takenAt,
      sealedAt,
      quiesced: row.quiesced ?? false,
      manifestPath: o.manifestPath,
      disks: { create: disks },
    },
    include: withPointDisks,
  });
  for (const { diskKey, backupType, reason, parentPointId } of disks) {
    await transaction.backupDisk.update({
      where: { backupId_diskKey: { backupId: row.id, diskKey } },
      data: { status: 'completed', backupType, reason, parentPointId },
    });
  }
  await transaction.backupJob.update({
    where: { id: row.id },
    data: { state: 'completed', endedAt: sealedAt, activeContextId: null },
  });
  await count(transaction, 'backups/completed', 1);
  await count(transaction, pointsIn(row.repositoryId), 1);
  return toPointRecord(point);
}

function sealedDiskRows(row: BackupRow, o: SealRequest) {
  const expected = row.disks.filter((disk) => disk.status !== 'skipped');
  const sealed = new Map(o.disks.map((disk) => [disk.diskKey, disk]));
  if (expected.length === 0 || sealed.size !== o.disks.length || sealed.size !== expected.length)
    throw notItsDisks(row);
  return expected.map((disk) => {
    const image = sealed.get(disk.diskKey);
    if (!image) throw notItsDisks(row);
    return {
      diskNumber: disk.diskNumber,
      diskId: disk.diskId,
      diskKey: disk.diskKey,
      label: disk.label,
      backingUuid: disk.backingUuid,
      capacityBytes: disk.capacityBytes,
      ...taken(row, disk, image),
      changeId: disk.changeId,
      imagePath: image.imagePath,
      hashesPath: image.hashesPath ?? null,
      bytesRead: disk.bytesDone,
      storedBytes: toBigInt(image.storedBytes, 'storedBytes'),
    };
  });
}

/** The seal's word on how a disk was taken, else what was recorded. @throws `invalid_argument` when it contradicts itself */
function taken(row: BackupRow, disk: BackupRow['disks'][number], image: SealedDisk) {
  const { parentPointId } = image;
  if (image.backupType === undefined && parentPointId === undefined)
    return { backupType: disk.backupType, reason: disk.reason, parentPointId: disk.parentPointId };
  const backupType = image.backupType ?? disk.backupType;
  if ((backupType === 'incremental') !== (parentPointId !== undefined)) {
    throw new SendenseError(
      'invalid_argument',
      `disk ${disk.diskKey} of ${row.id} cannot be sealed as ${backupType} ${parentPointId === undefined ? 'without' : 'with'} a parent`,
      { context: { backup_id: row.id, disk_key: disk.diskKey } },
    );
  }
  return { backupType, reason: image.reason ?? disk.reason, parentPointId: parentPointId ?? null };
}

function notItsDisks(row: BackupRow): SendenseError {
  const keys = row.disks.filter((disk) => disk.status !== 'skipped').map((disk) => disk.diskKey);
  return new SendenseError(
    'invalid_argument',
    `${row.id} can only be sealed with exactly its disks (${keys.join(', ')})`,
    { context: { backup_id: row.id } },
  );
}
