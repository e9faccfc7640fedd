import { printable, SendenseError } from '@sendense/core';
import { BACKUP_TYPES, type BackupType } from './backup-records.js';
import { byDiskNumber, oneOf, toNumber } from './columns.js';
import type { Prisma } from './gen/sqlite/client.js';

// What the tables `restore_points` and `restore_point_disks` hold, and from their rows to it.

/** `removing`: decided, and no restore point any more; only its removal may be finished or, before any merge, called off. */
const RESTORE_POINT_STATES = ['sealed', 'removing'] as const;
export type RestorePointState = (typeof RESTORE_POINT_STATES)[number];

export const VERIFICATION_OUTCOMES = ['passed', 'failed'] as const;
export type VerificationOutcome = (typeof VERIFICATION_OUTCOMES)[number];

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
  /** What the image file occupied when it was sealed, or after the last point that was merged into it. */
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
  readonly state: RestorePointState;
  /** Its content is in doubt: it is never a parent, and nobody gets it without being told. */
  readonly suspect: boolean;
  /** In words; only with `suspect`. */
  readonly suspectReason: string | undefined;
  /** How the last verification ended, of either kind; this and the next three are undefined before the first. */
  readonly verification: VerificationOutcome | undefined;
  readonly verifiedAt: Date | undefined;
  /** Whether that one read every block (true) or looked at the structure alone. */
  readonly verifiedFull: boolean | undefined;
  readonly verificationDetail: string | undefined;
  /** The last verification of every block, however it ended. */
  readonly fullyVerifiedAt: Date | undefined;
  /** Set while it is held: nothing removes it. */
  readonly heldAt: Date | undefined;
  readonly holdReason: string | undefined;
  /** By disk number. */
  readonly disks: readonly RestorePointDiskRecord[];
}

export const withPointDisks = { disks: true } satisfies Prisma.RestorePointInclude;

export const NEWEST_FIRST = [
  { takenAt: 'desc' },
  { id: 'desc' },
] satisfies Prisma.RestorePointOrderByWithRelationInput[];

export type PointRow = Prisma.RestorePointGetPayload<{ include: typeof withPointDisks }>;

export function toPointRecord(row: PointRow): RestorePointRecord {
  return {
    ...row,
    type: oneOf(BACKUP_TYPES, row.type, 'type of a restore point'),
    state: oneOf(RESTORE_POINT_STATES, row.state, 'state of a restore point'),
    suspectReason: row.suspectReason ?? undefined,
    verification:
      row.verification === null
        ? undefined
        : oneOf(VERIFICATION_OUTCOMES, row.verification, 'outcome of a verification'),
    verifiedAt: row.verifiedAt ?? undefined,
    verifiedFull: row.verifiedFull ?? undefined,
    verificationDetail: row.verificationDetail ?? undefined,
    fullyVerifiedAt: row.fullyVerifiedAt ?? undefined,
    heldAt: row.heldAt ?? undefined,
    holdReason: row.holdReason ?? undefined,
    disks: byDiskNumber(row.disks).map((disk) => ({
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

export function pointNotFound(id: string): SendenseError {
  return new SendenseError(
    'not_found',
    `there is no restore point ${printable(id)}: list them with 'sendense restore-point list'`,
    { context: { restore_point_id: id } },
  );
}
