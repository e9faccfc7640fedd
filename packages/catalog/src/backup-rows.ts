import { BACKUP_STATES } from '@sendense/core';
import type {
  BackupDiskRecord,
  BackupDiskStatus,
  BackupRecord,
  BackupStatus,
  SnapshotRecord,
} from './backup-records.js';
import { BACKUP_DISK_STATES, BACKUP_TYPES } from './backup-records.js';
import { byDiskNumber, fromJson, oneOf, present, toNumber } from './columns.js';
import type { Prisma } from './gen/sqlite/client.js';
import { errorFromJson, type StoredWarning } from './stored-error.js';

// From the tables `backup_jobs` and `backup_disks` to records, and what a state must have.

export const withDisks = { disks: true } satisfies Prisma.BackupJobInclude;
export type BackupRow = Prisma.BackupJobGetPayload<{ include: typeof withDisks }>;
type DiskRow = BackupRow['disks'][number];

export function toBackupRecord(row: BackupRow): BackupRecord {
  return {
    ...toStatus(row),
    id: row.id,
    stamp: stampOf(row.id),
    contextId: row.contextId,
    vmName: row.vmName,
    vmInstanceUuid: row.vmInstanceUuid,
    repositoryId: row.repositoryId,
    nodeName: row.nodeName,
    type: oneOf(BACKUP_TYPES, row.type, 'type of a backup'),
    quiesce: row.quiesce,
    requestedBy: row.requestedBy,
    createdAt: row.createdAt,
    snapshot: toSnapshot(row),
    warnings: fromJson(row.warnings, 'the warnings of a backup') as StoredWarning[],
    lastEventSequence: row.lastEventSequence,
    disks: byDiskNumber(row.disks).map(toDiskRecord),
  };
}

/** The id's end: the time, and the number that made it unique. */
export function stampOf(id: string): string {
  return /\d{8}-\d{6}(-\d+)?$/.exec(id)?.[0] ?? id;
}

function toStatus(row: BackupRow): BackupStatus {
  const startedAt = row.startedAt ?? undefined;
  const began = () => present(row.startedAt, 'when a backup started');
  const ended = () => present(row.endedAt, 'when a backup ended');
  const cancelReason = () => present(row.cancelReason, 'why a backup was cancelled');
  const state = oneOf(BACKUP_STATES, row.state, 'state of a backup');
  switch (state) {
    case 'queued':
      return { state };
    case 'preparing':
    case 'running':
    case 'sealing':
      return { state, startedAt: began() };
    case 'cancelling':
      return { state, startedAt, cancelReason: cancelReason() };
    case 'completed':
      return { state, startedAt: began(), endedAt: ended(), restorePointId: row.id };
    case 'failed':
      return { state, startedAt, endedAt: ended(), error: errorFromJson(present(row.error, 'an error')) };
    default:
      return { state, startedAt, endedAt: ended(), cancelReason: cancelReason() };
  }
}

function toSnapshot(row: BackupRow): SnapshotRecord | undefined {
  if (row.snapshotMoref === null) return undefined;
  return {
    moref: row.snapshotMoref,
    name: row.snapshotName ?? '',
    quiesced: row.quiesced ?? false,
    quiesceNote: row.quiesceNote ?? undefined,
    createdAt: present(row.snapshotCreatedAt, 'when a snapshot was made'),
    removedAt: row.snapshotRemovedAt ?? undefined,
  };
}

function toDiskRecord(row: DiskRow): BackupDiskRecord {
  return {
    ...toDiskStatus(row),
    diskId: row.diskId,
    diskKey: row.diskKey,
    diskNumber: row.diskNumber,
    label: row.label,
    backingUuid: row.backingUuid,
    capacityBytes: toNumber(row.capacityBytes),
    backupType: oneOf(BACKUP_TYPES, row.backupType, 'type of a disk backup'),
    reason: row.reason,
    reasonDetail: row.reasonDetail ?? undefined,
    parentPointId: row.parentPointId ?? undefined,
    previousChangeId: row.previousChangeId ?? undefined,
    changeId: row.changeId ?? undefined,
    bytesDone: toNumber(row.bytesDone),
    bytesTotal: toNumber(row.bytesTotal),
    bytesWritten: toNumber(row.bytesWritten),
    bytesZeroed: toNumber(row.bytesZeroed),
    auditedBlocks: row.auditedBlocks === null ? undefined : toNumber(row.auditedBlocks),
  };
}

function toDiskStatus(row: DiskRow): BackupDiskStatus {
  const target = () => ({
    qcow2Path: present(row.qcow2Path, 'the path of an image'),
    nbdPort: present(row.nbdPort, 'an NBD port'),
    nbdExportName: present(row.nbdExportName, 'the name of an NBD export'),
  });
  const status = oneOf(BACKUP_DISK_STATES, row.status, 'status of a disk');
  switch (status) {
    case 'queued':
    case 'skipped':
      return { status };
    case 'preparing':
      return { status, ...target() };
    case 'qemu_started':
    case 'copying':
    case 'copied':
    case 'completed':
      return { status, ...target(), qemuNbdPid: present(row.qemuNbdPid, 'the pid of a qemu-nbd') };
    default:
      return {
        status,
        error: errorFromJson(present(row.error, 'an error')),
        ...(row.qcow2Path === null ? {} : { qcow2Path: row.qcow2Path }),
        ...(row.nbdPort === null ? {} : { nbdPort: row.nbdPort }),
        ...(row.nbdExportName === null ? {} : { nbdExportName: row.nbdExportName }),
        ...(row.qemuNbdPid === null ? {} : { qemuNbdPid: row.qemuNbdPid }),
      };
  }
}
