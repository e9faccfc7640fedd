import { ACTIVE_BACKUP_STATES, printable, SendenseError } from '@sendense/core';
import type { BackupType } from './backup-records.js';
import { toBigInt } from './columns.js';
import type { Transaction } from './database.js';
import { repositoryNotFound } from './repositories.js';
import { toPointRecord, withPointDisks, type RestorePointRecord } from './restore-point-records.js';
import { count, pointsIn } from './tallies.js';
import { MAX_NAME_LENGTH, requireText, storableText } from './text-limits.js';

/** A disk of a restore point as its manifest describes it. */
export interface ImportedDisk {
  readonly diskId: string;
  readonly diskNumber: number;
  readonly diskKey: number;
  readonly label: string;
  readonly backingUuid: string;
  /** `[datastore] folder/name.vmdk`, as it was then. */
  readonly backingFile: string;
  readonly capacityBytes: number;
  readonly backupType: BackupType;
  readonly reason: string;
  /** Relative to the repository's path. */
  readonly imagePath: string;
  readonly hashesPath?: string;
  readonly changeId?: string;
  /** With `incremental` alone. */
  readonly parentPointId?: string;
  readonly bytesRead: number;
  readonly storedBytes: number;
}

/** A restore point as its manifest describes it. */
export interface ImportedPoint {
  readonly id: string;
  readonly contextId: string;
  /** The repository that it was found in, whatever its manifest says. */
  readonly repositoryId: string;
  readonly vm: {
    readonly name: string;
    readonly instanceUuid: string;
    readonly moref: string;
    readonly guestFullName: string;
  };
  readonly takenAt: Date;
  readonly sealedAt: Date;
  readonly quiesced: boolean;
  /** Relative to the repository's path. */
  readonly manifestPath: string;
  readonly disks: readonly ImportedDisk[];
}

export interface ImportResult {
  readonly point: RestorePointRecord;
  /** false when the catalogue had it already. */
  readonly added: boolean;
  readonly contextAdded: boolean;
}

/** See {@link RestorePoints.importPoint}: everything in the caller's transaction. */
export async function importPoint(
  transaction: Transaction,
  o: ImportedPoint,
  now: Date,
): Promise<ImportResult> {
  if (!(await transaction.repository.findUnique({ where: { id: o.repositoryId } })))
    throw repositoryNotFound(o.repositoryId);
  const known = await transaction.restorePoint.findUnique({
    where: { id: o.id },
    include: withPointDisks,
  });
  if (known) {
    const point = toPointRecord(known);
    requireSame(point, o);
    return { point, added: false, contextAdded: false };
  }
  const job = await transaction.backupJob.findUnique({ where: { id: o.id } });
  if (job && ACTIVE_BACKUP_STATES.some((state) => state === job.state))
    throw conflict(o, 'its backup has not ended, and seals it itself');
  const type = checkedType(o);
  await requireParents(transaction, o);
  const contextAdded = await addContext(transaction, o, now);
  await addDisks(transaction, o, now);
  const row = await transaction.restorePoint.create({
    data: {
      id: requireText('the id of a restore point', o.id),
      contextId: o.contextId,
      vmName: storableText(o.vm.name),
      vmInstanceUuid: storableText(o.vm.instanceUuid),
      repositoryId: o.repositoryId,
      type,
      takenAt: o.takenAt,
      sealedAt: o.sealedAt,
      quiesced: o.quiesced,
      manifestPath: o.manifestPath,
      disks: { create: o.disks.map(pointDiskRow) },
    },
    include: withPointDisks,
  });
  await count(transaction, pointsIn(o.repositoryId), 1);
  return { point: toPointRecord(row), added: true, contextAdded };
}

/** What merging may have changed since (type, parent, stored bytes) is not compared. */
function requireSame(point: RestorePointRecord, o: ImportedPoint): void {
  const differs =
    (point.contextId !== o.contextId && 'context_id') ||
    (point.repositoryId !== o.repositoryId && 'repository_id') ||
    (point.vmInstanceUuid !== storableText(o.vm.instanceUuid) && 'instance_uuid') ||
    (point.takenAt.getTime() !== o.takenAt.getTime() && 'taken_at') ||
    (point.manifestPath !== o.manifestPath && 'manifest_path') ||
    (diskIdentities(point.disks) !== diskIdentities(o.disks) && 'disks');
  if (differs) throw conflict(o, `the catalogue has another restore point of this id (${differs} differs)`);
}

function diskIdentities(
  disks: readonly Pick<ImportedDisk, 'diskNumber' | 'diskId' | 'diskKey' | 'imagePath' | 'capacityBytes'>[],
): string {
  return JSON.stringify(
    disks
      .map((disk) => [disk.diskNumber, disk.diskId, disk.diskKey, disk.imagePath, disk.capacityBytes])
      .sort(([a], [b]) => Number(a) - Number(b)),
  );
}

/** @throws `invalid_argument` */
function checkedType(o: ImportedPoint): BackupType {
  const wrong = o.disks.find(
    ({ backupType, parentPointId }) => (backupType === 'incremental') !== (parentPointId !== undefined),
  );
  if (wrong || o.disks.length === 0) {
    const why = wrong
      ? `its disk ${wrong.diskNumber} is ${wrong.backupType} ${wrong.parentPointId === undefined ? 'without' : 'with'} a parent`
      : 'it has no disk';
    throw new SendenseError('invalid_argument', `${printable(o.id)} is no restore point: ${why}`, {
      context: { restore_point_id: o.id },
    });
  }
  return o.disks.some(({ backupType }) => backupType === 'incremental') ? 'incremental' : 'full';
}

async function requireParents(transaction: Transaction, o: ImportedPoint): Promise<void> {
  const ids = new Set(o.disks.flatMap(({ parentPointId }) => parentPointId ?? []));
  const { contextId, repositoryId } = o;
  const found = await transaction.restorePoint.findMany({
    where: { id: { in: [...ids] }, contextId, repositoryId },
    select: { id: true },
  });
  const missing = [...ids].filter((id) => !found.some((parent) => parent.id === id));
  if (missing.length === 0) return;
  throw new SendenseError(
    'chain_damaged',
    `${printable(o.id)} builds on ${missing.map((id) => printable(id)).join(', ')}, which the catalogue does not have for this VM and repository: put its files back and rescan`,
    { context: { restore_point_id: o.id, parent_point_id: missing[0] ?? '' } },
  );
}

/** A context that has a vCenter is discovery's; one without shows what its newest point says. */
async function addContext(transaction: Transaction, o: ImportedPoint, now: Date): Promise<boolean> {
  const { contextId } = o;
  const shown = {
    moref: storableText(o.vm.moref),
    name: storableText(o.vm.name),
    guestFullName: storableText(o.vm.guestFullName),
  };
  const instanceUuid = storableText(o.vm.instanceUuid);
  const known = await transaction.vmContext.findUnique({ where: { contextId } });
  if (!known) {
    const unknown = { powerState: 'unknown', hostMoref: '', hostName: '' };
    await transaction.vmContext.create({
      data: {
        ...shown,
        ...unknown,
        contextId: requireText('the id of a protected VM', contextId),
        instanceUuid,
        createdAt: now,
        updatedAt: now,
      },
    });
    return true;
  }
  if (known.instanceUuid !== instanceUuid)
    throw conflict(o, `the catalogue has ${contextId} as another VM (${printable(known.instanceUuid)})`);
  if (known.vcenterId === null && (await isNewest(transaction, o)))
    await transaction.vmContext.update({ where: { contextId }, data: { ...shown, updatedAt: now } });
  return false;
}

async function addDisks(transaction: Transaction, o: ImportedPoint, now: Date): Promise<void> {
  const { contextId } = o;
  const context = await transaction.vmContext.findUnique({ where: { contextId } });
  const newest = context?.vcenterId === null && (await isNewest(transaction, o));
  const known = await transaction.vmDisk.findMany({
    where: { OR: [{ contextId }, { diskId: { in: o.disks.map(({ diskId }) => diskId) } }] },
  });
  for (const disk of o.disks) {
    const { diskId, diskNumber, diskKey } = disk;
    const backingUuid = storableText(disk.backingUuid);
    const same = known.filter(
      (row) => row.diskId === diskId || (row.contextId === contextId && row.diskNumber === diskNumber),
    );
    const other = same.find(
      (row) =>
        row.diskId !== diskId ||
        row.contextId !== contextId ||
        row.diskNumber !== diskNumber ||
        row.diskKey !== diskKey ||
        row.backingUuid !== backingUuid,
    );
    if (other)
      throw conflict(o, `the catalogue has its disk ${diskNumber} as another disk (${other.diskId})`);
    if (same.length === 0)
      await transaction.vmDisk.create({
        data: { ...vmDiskRow(disk, contextId), backingUuid, removedAt: newest ? null : now },
      });
  }
  if (!newest) return;
  // As its newest point shows it, until discovery sees the VM again.
  const numbers = o.disks.map(({ diskNumber }) => diskNumber);
  await transaction.vmDisk.updateMany({
    where: { contextId, diskNumber: { in: numbers } },
    data: { removedAt: null },
  });
  await transaction.vmDisk.updateMany({
    where: { contextId, diskNumber: { notIn: numbers }, removedAt: null },
    data: { removedAt: now },
  });
}

async function isNewest(transaction: Transaction, o: ImportedPoint): Promise<boolean> {
  const { contextId, takenAt } = o;
  return !(await transaction.restorePoint.findFirst({ where: { contextId, takenAt: { gt: takenAt } } }));
}

function vmDiskRow(disk: ImportedDisk, contextId: string) {
  return {
    contextId,
    diskId: requireText('the id of a disk', disk.diskId),
    diskNumber: disk.diskNumber,
    diskKey: disk.diskKey,
    label: storableText(disk.label),
    backingFile: storableText(disk.backingFile, Infinity),
    datastore: storableText(/^\[([^\]]*)\]/.exec(disk.backingFile)?.[1] ?? '', MAX_NAME_LENGTH),
    capacityBytes: toBigInt(disk.capacityBytes, `the capacity of disk ${disk.diskKey}`),
    // No manifest has these: the next discovery puts them right.
    controllerKey: 0,
    unitNumber: 0,
  };
}

function pointDiskRow(disk: ImportedDisk) {
  return {
    diskNumber: disk.diskNumber,
    diskId: disk.diskId,
    diskKey: disk.diskKey,
    label: storableText(disk.label),
    backingUuid: storableText(disk.backingUuid),
    capacityBytes: toBigInt(disk.capacityBytes, 'capacityBytes'),
    backupType: disk.backupType,
    reason: storableText(disk.reason),
    imagePath: disk.imagePath,
    hashesPath: disk.hashesPath ?? null,
    changeId: disk.changeId ?? null,
    parentPointId: disk.parentPointId ?? null,
    bytesRead: toBigInt(disk.bytesRead, 'bytesRead'),
    storedBytes: toBigInt(disk.storedBytes, 'storedBytes'),
  };
}

function conflict(o: ImportedPoint, why: string): SendenseError {
  return new SendenseError('conflict', `${printable(o.id)} cannot be taken in: ${why}`, {
    context: { restore_point_id: o.id, context_id: o.contextId, repository_id: o.repositoryId },
  });
}
