import type { Page, PageRequest } from './paging.js';
import type { RestorePointRecord } from './restore-points.js';
import type { StoredWarning } from './stored-error.js';
import type {
  BackupDiskStatus,
  BackupRecord,
  BackupState,
  BackupStateChange,
  BackupType,
  DiskProgressChange,
  PlannedDisk,
  SealRequest,
} from './backup-records.js';

export interface BeginBackup {
  readonly contextId: string;
  readonly repositoryId: string;
  readonly type: BackupType;
  readonly quiesce: boolean;
  readonly requestedBy: string;
  readonly disks: readonly PlannedDisk[];
}

/** Tables `backup_jobs` and `backup_disks`. */
export class Backups {
  /**
   * Records a new backup in state `queued`. Of two for one VM at the same time one wins.
   * @throws `backup_already_running` with `backup_id`; `vm_not_protected`; `repository_not_found`; `credentials_missing`
   */
  async begin(_o: BeginBackup): Promise<BackupRecord> {
    throw new Error('not built yet');
  }
  /** Replaces the plan: a backup that waited is planned again. @throws `job_not_found`, `conflict` unless queued or preparing */
  async replan(_id: string, _disks: readonly PlannedDisk[]): Promise<BackupRecord> {
    throw new Error('not built yet');
  }
  /**
   * Moves the backup on. Ending it (`failed`, `cancelled`) also ends its unfinished disks, in the same transaction.
   * @throws `job_not_found`; `conflict` when that step is not possible from its present state
   */
  async changeState(_id: string, _change: BackupStateChange): Promise<BackupRecord> {
    throw new Error('not built yet');
  }
  /** @throws `job_not_found`, `conflict` when the backup has ended */
  async changeDisk(_id: string, _diskKey: number, _status: BackupDiskStatus): Promise<void> {
    throw new Error('not built yet');
  }
  /** Takes in what node events said; numbers only ever grow. @throws `job_not_found` */
  async recordProgress(
    _id: string,
    _o: { lastEventSequence?: number; disks?: readonly DiskProgressChange[] },
  ): Promise<void> {
    throw new Error('not built yet');
  }
  /** @throws `job_not_found` */
  async recordSnapshot(
    _id: string,
    _o: {
      moref: string;
      name: string;
      quiesced: boolean;
      quiesceNote?: string;
      createdAt: Date;
      changeIds: readonly { diskKey: number; changeId: string }[];
    },
  ): Promise<void> {
    throw new Error('not built yet');
  }
  /** @throws `job_not_found` */
  async recordSnapshotRemoved(_id: string): Promise<void> {
    throw new Error('not built yet');
  }
  /** @throws `job_not_found` */
  async addWarning(_id: string, _warning: StoredWarning): Promise<void> {
    throw new Error('not built yet');
  }
  /**
   * Commits restore point, its disks, their changeIds and the end of the backup in one transaction. Doing it again for a
   * completed backup returns the same point.
   * @throws `job_not_found`; `conflict` unless it is sealing; `invalid_argument` when the disks are not exactly its own
   */
  async seal(_id: string, _o: SealRequest): Promise<RestorePointRecord> {
    throw new Error('not built yet');
  }
  async find(_id: string): Promise<BackupRecord | undefined> {
    throw new Error('not built yet');
  }
  /** @throws `job_not_found` */
  async get(_id: string): Promise<BackupRecord> {
    throw new Error('not built yet');
  }
  /** Newest first. */
  async list(
    _o?: PageRequest & {
      states?: readonly BackupState[];
      vmName?: string;
      contextId?: string;
      repositoryId?: string;
    },
  ): Promise<Page<BackupRecord>> {
    throw new Error('not built yet');
  }
  /** Every backup that has not ended, oldest first: the queue, and what a start reconciles. */
  async active(): Promise<BackupRecord[]> {
    throw new Error('not built yet');
  }
  /** For metrics. */
  async countByState(): Promise<Record<BackupState, number>> {
    throw new Error('not built yet');
  }
}
