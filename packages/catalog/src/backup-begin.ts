import { printable, SendenseError, slug, timestampName } from '@sendense/core';
import type { BackupRecord, BackupType, PlannedDisk } from './backup-records.js';
import { toBackupRecord, withDisks } from './backup-rows.js';
import { isUniqueViolation } from './database-errors.js';
import type { Database, Transaction } from './database.js';
import { freeId } from './record-ids.js';
import { repositoryNotFound } from './repositories.js';
import { credentialsMissing, vmNotProtected } from './vcenters.js';

export interface BeginBackup {
  readonly contextId: string;
  readonly repositoryId: string;
  readonly type: BackupType;
  readonly quiesce: boolean;
  readonly requestedBy: string;
  readonly disks: readonly PlannedDisk[];
}

/** See {@link Backups.begin}. */
export async function beginBackup(database: Database, o: BeginBackup): Promise<BackupRecord> {
  try {
    return await database.transaction(async (transaction) => insertBackup(transaction, o, database.now()));
  } catch (error) {
    // Another process was quicker between our look and our insert.
    if (isUniqueViolation(error, 'active_context_id')) throw alreadyRunning(o.contextId, undefined, error);
    throw error;
  }
}

async function insertBackup(
  transaction: Transaction,
  o: BeginBackup,
  createdAt: Date,
): Promise<BackupRecord> {
  const { contextId, repositoryId } = o;
  const context = await transaction.vmContext.findUnique({
    where: { contextId },
    include: { vcenter: true },
  });
  if (!context) throw vmNotProtected(contextId);
  if (!context.vcenter) throw credentialsMissing(context);
  if (!(await transaction.repository.findUnique({ where: { id: repositoryId } })))
    throw repositoryNotFound(repositoryId);
  const running = await transaction.backupJob.findUnique({ where: { activeContextId: contextId } });
  if (running) throw alreadyRunning(context.name, running.id);
  const id = await freeId(
    `backup-${slug(context.name)}-${timestampName(createdAt)}`,
    async (id) =>
      (await transaction.backupJob.findUnique({ where: { id } })) !== null ||
      (await transaction.restorePoint.findUnique({ where: { id } })) !== null,
  );
  const data = {
    id,
    contextId,
    activeContextId: contextId,
    vmName: context.name,
    vmInstanceUuid: context.instanceUuid,
    repositoryId,
    nodeName: context.vcenter.nodeName,
    type: o.type,
    quiesce: o.quiesce,
    requestedBy: o.requestedBy,
    state: 'queued',
    createdAt,
    warnings: '[]',
    lastEventSequence: 0,
    disks: { create: await plannedDiskRows(transaction, contextId, o.disks) },
  };
  return toBackupRecord(await transaction.backupJob.create({ data, include: withDisks }));
}

/** @throws `disk_set_changed` when the plan names a disk that the VM does not have now */
export async function plannedDiskRows(
  transaction: Transaction,
  contextId: string,
  disks: readonly PlannedDisk[],
) {
  const present = await transaction.vmDisk.findMany({ where: { contextId, removedAt: null } });
  return disks.map((planned) => {
    const disk = present.find((candidate) => candidate.diskId === planned.diskId);
    if (!disk) {
      throw new SendenseError(
        'disk_set_changed',
        `the plan names the disk ${printable(planned.diskId)}, which ${contextId} does not have: plan again`,
        { context: { context_id: contextId, disk_id: planned.diskId }, retryable: true },
      );
    }
    const { diskId, diskKey, diskNumber, label, backingUuid, capacityBytes } = disk;
    return {
      diskId,
      diskKey,
      diskNumber,
      label,
      backingUuid,
      capacityBytes,
      backupType: planned.backupType,
      reason: planned.reason,
      parentPointId: planned.parentPointId ?? null,
      previousChangeId: planned.previousChangeId ?? null,
      status: planned.skipped ? 'skipped' : 'queued',
      bytesDone: 0n,
      bytesTotal: 0n,
      bytesWritten: 0n,
      bytesZeroed: 0n,
    };
  });
}

function alreadyRunning(vm: string, backupId: string | undefined, cause?: unknown): SendenseError {
  return new SendenseError(
    'backup_already_running',
    `a backup of ${printable(vm)} is running already${backupId ? ` (${backupId})` : ''}: wait for it, or cancel it`,
    { cause, context: backupId ? { backup_id: backupId } : {} },
  );
}
