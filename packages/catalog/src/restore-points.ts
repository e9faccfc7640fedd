import type { BackupType } from './backup-records.js';
import type { Page, PageRequest } from './paging.js';

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

/** Tables `restore_points` and `restore_point_disks`. Points are made by sealing a backup. */
export class RestorePoints {
  async find(_id: string): Promise<RestorePointRecord | undefined> {
    throw new Error('not built yet');
  }
  /** @throws `not_found` */
  async get(_id: string): Promise<RestorePointRecord> {
    throw new Error('not built yet');
  }
  /** The newest point of a VM in a repository: what an incremental builds on. */
  async latest(_contextId: string, _repositoryId: string): Promise<RestorePointRecord | undefined> {
    throw new Error('not built yet');
  }
  /** Newest first. */
  async list(
    _o?: PageRequest & { contextId?: string; repositoryId?: string; vmName?: string },
  ): Promise<Page<RestorePointRecord>> {
    throw new Error('not built yet');
  }
}
