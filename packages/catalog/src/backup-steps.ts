import { ACTIVE_BACKUP_STATES, SendenseError } from '@sendense/core';
import type { BackupDiskChange, BackupState, BackupStateChange } from './backup-records.js';
import type { BackupRow } from './backup-rows.js';
import { errorToJson } from './stored-error.js';
import { storableText } from './text-limits.js';

/** From each state, where a caller may go. `completed` is reached by sealing alone. */
const STEPS: Record<BackupState, readonly BackupState[]> = {
  queued: ['preparing', 'cancelling', 'cancelled', 'failed'],
  preparing: ['running', 'cancelling', 'cancelled', 'failed'],
  running: ['sealing', 'cancelling', 'cancelled', 'failed'],
  sealing: ['cancelling', 'cancelled', 'failed'],
  cancelling: ['cancelled', 'failed'],
  completed: [],
  failed: [],
  cancelled: [],
};

/** @throws `conflict` */
export function requireStep(id: string, from: BackupState, to: BackupState): void {
  if (STEPS[from].includes(to)) return;
  throw new SendenseError('conflict', `${id} is ${from} and cannot become ${to}`, {
    context: { backup_id: id, state: from },
  });
}

/** @throws `conflict` */
export function requireActive(row: { id: string; state: string }): void {
  if (ACTIVE_BACKUP_STATES.some((state) => state === row.state)) return;
  throw new SendenseError('conflict', `${row.id} has ended (${row.state})`, {
    context: { backup_id: row.id, state: row.state },
  });
}

/** @throws `job_not_found` */
export function requireDisk(row: BackupRow, diskKey: number): BackupRow['disks'][number] {
  const disk = row.disks.find((candidate) => candidate.diskKey === diskKey);
  if (disk) return disk;
  throw new SendenseError('job_not_found', `${row.id} has no disk ${diskKey}`, {
    context: { backup_id: row.id, disk_key: diskKey },
  });
}

/** See {@link Backups.becomeFull}. @throws `conflict` for a skipped disk */
export function toFullColumns(disk: BackupRow['disks'][number], o: { reason: string; detail?: string }) {
  if (disk.status === 'skipped') {
    throw new SendenseError('conflict', `disk ${disk.diskKey} of ${disk.backupId} is skipped`, {
      context: { backup_id: disk.backupId, disk_key: disk.diskKey, status: disk.status },
    });
  }
  if (disk.backupType === 'full') return {};
  return {
    backupType: 'full',
    reason: storableText(o.reason),
    reasonDetail: o.detail ? storableText(o.detail, Infinity) : null,
    parentPointId: null,
    previousChangeId: null,
  };
}

export function toStateColumns(row: BackupRow, change: BackupStateChange, now: Date) {
  const { state } = change;
  switch (state) {
    case 'preparing':
    case 'running':
    case 'sealing':
      return { state, startedAt: row.startedAt ?? now };
    case 'cancelling':
      return { state, cancelReason: change.cancelReason };
    case 'cancelled':
      // The first reason stays: later ones are its consequences.
      return {
        state,
        cancelReason: row.cancelReason ?? change.cancelReason,
        endedAt: now,
        activeContextId: null,
      };
    default:
      return { state, error: errorToJson(change.error), endedAt: now, activeContextId: null };
  }
}

/** @throws `conflict` when the disk never got what the status needs */
export function toDiskColumns(row: BackupRow['disks'][number], change: BackupDiskChange) {
  if (change.status === 'queued')
    return { status: change.status, qcow2Path: null, nbdPort: null, nbdExportName: null, qemuNbdPid: null };
  const columns = {
    status: change.status,
    qcow2Path: change.qcow2Path ?? row.qcow2Path,
    nbdPort: change.nbdPort ?? row.nbdPort,
    nbdExportName: change.nbdExportName ?? row.nbdExportName,
    qemuNbdPid: ('qemuNbdPid' in change ? change.qemuNbdPid : undefined) ?? row.qemuNbdPid,
  };
  if (change.status === 'failed') return { ...columns, error: errorToJson(change.error) };
  const needsPid = change.status !== 'preparing';
  const { qcow2Path, nbdPort, nbdExportName, qemuNbdPid } = columns;
  const incomplete = qcow2Path === null || nbdPort === null || nbdExportName === null;
  if (row.status === 'skipped' || incomplete || (needsPid && qemuNbdPid === null)) {
    throw new SendenseError(
      'conflict',
      `disk ${row.diskKey} of ${row.backupId} is ${row.status} and cannot become ${change.status}`,
      { context: { backup_id: row.backupId, disk_key: row.diskKey, status: row.status } },
    );
  }
  return columns;
}
