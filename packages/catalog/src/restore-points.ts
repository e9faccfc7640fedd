import { printable, SendenseError } from '@sendense/core';
import { BACKUP_TYPES, type BackupType } from './backup-records.js';
import { oneOf, toNumber } from './columns.js';
import type { Database } from './database.js';
import type { Prisma } from './gen/sqlite/client.js';
import { pageLimit, pagePosition, toPage, type Page, type PageRequest } from './paging.js';

export interface RestorePointDiskRecord {
  readonly diskId: string;
  readonly diskKey: number;
  readonly diskNumber: number;
  readonly label: string;
  readonly backingUuid: string;
  readonly capacityBytes: number;
  readonly backupType: BackupType;
  readonly reason: string;
  /** Relative to the repository's path. */
  readonly imagePath: string;
  readonly hashesPath: string | undefined;
  readonly changeId: string | undefined;
  /** The point whose image of this disk is the backing file; only with `incremental`. */
  readonly parentPointId: string | undefined;
  /** Read from the source for this point. */
  readonly bytesRead: number;
  /** What the image file occupied when it was sealed. */
  readonly storedBytes: number;
}

export interface RestorePointRecord {
  /** The id of the backup that made it. */
  readonly id: string;
  readonly contextId: string;
  readonly vmName: string;
  readonly vmInstanceUuid: string;
  readonly repositoryId: string;
  /** `incremental` when any of its disks is. */
  readonly type: BackupType;
  readonly takenAt: Date;
  readonly sealedAt: Date;
  readonly quiesced: boolean;
  /** Relative to the repository's path. */
  readonly manifestPath: string;
  /** By disk number. */
  readonly disks: readonly RestorePointDiskRecord[];
}

export const withPointDisks = {
  disks: { orderBy: { diskNumber: 'asc' } },
} satisfies Prisma.RestorePointInclude;

type Row = Prisma.RestorePointGetPayload<{ include: typeof withPointDisks }>;

const NEWEST_FIRST = [
  { takenAt: 'desc' },
  { id: 'desc' },
] satisfies Prisma.RestorePointOrderByWithRelationInput[];

/** Tables `restore_points` and `restore_point_disks`. Points are made by sealing a backup. */
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
    if (!found) {
      throw new SendenseError('not_found', `there is no restore point ${printable(id)}`, {
        context: { restore_point_id: id },
      });
    }
    return found;
  }

  /** The newest point of a VM in a repository: what an incremental builds on. */
  async latest(contextId: string, repositoryId: string): Promise<RestorePointRecord | undefined> {
    const row = await this.database.run((client) =>
      client.restorePoint.findFirst({
        where: { contextId, repositoryId },
        include: withPointDisks,
        orderBy: NEWEST_FIRST,
      }),
    );
    return row ? toPointRecord(row) : undefined;
  }

  /** Newest first. */
  async list(
    o: PageRequest & { contextId?: string; repositoryId?: string; vmName?: string } = {},
  ): Promise<Page<RestorePointRecord>> {
    const limit = pageLimit(o);
    const before = pagePosition(o);
    const rows = await this.database.run((client) =>
      client.restorePoint.findMany({
        where: {
          ...(o.contextId === undefined ? {} : { contextId: o.contextId }),
          ...(o.repositoryId === undefined ? {} : { repositoryId: o.repositoryId }),
          ...(o.vmName === undefined ? {} : { vmName: o.vmName }),
          ...(before && {
            OR: [{ takenAt: { lt: before.at } }, { takenAt: before.at, id: { lt: before.id } }],
          }),
        },
        include: withPointDisks,
        orderBy: NEWEST_FIRST,
        take: limit + 1,
      }),
    );
    return toPage(rows, limit, (row) => ({ at: row.takenAt, id: row.id }), toPointRecord);
  }
}

export function toPointRecord(row: Row): RestorePointRecord {
  return {
    ...row,
    type: oneOf(BACKUP_TYPES, row.type, 'type of a restore point'),
    disks: row.disks.map((disk) => ({
      diskId: disk.diskId,
      diskKey: disk.diskKey,
      diskNumber: disk.diskNumber,
      label: disk.label,
      backingUuid: disk.backingUuid,
      capacityBytes: toNumber(disk.capacityBytes),
      backupType: oneOf(BACKUP_TYPES, disk.backupType, 'type of a disk backup'),
      reason: disk.reason,
      imagePath: disk.imagePath,
      hashesPath: disk.hashesPath ?? undefined,
      changeId: disk.changeId ?? undefined,
      parentPointId: disk.parentPointId ?? undefined,
      bytesRead: toNumber(disk.bytesRead),
      storedBytes: toNumber(disk.storedBytes),
    })),
  };
}
