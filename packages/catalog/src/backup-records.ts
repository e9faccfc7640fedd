import type { StoredError, StoredWarning } from './stored-error.js';

export const BACKUP_TYPES = ['full', 'incremental'] as const;
export type BackupType = (typeof BACKUP_TYPES)[number];

/** Where one disk's data goes. Recorded before any of it is made, so that a crash leaves nothing unknown. */
export interface DiskTargetRecord {
  /** The final path, absolute; `.partial` is appended while it is written. */
  readonly qcow2Path: string;
  readonly nbdPort: number;
  readonly nbdExportName: string;
}

export type BackupDiskStatus =
  | { readonly status: 'queued' }
  | ({ readonly status: 'preparing' } & DiskTargetRecord)
  /** `qemu_started`: a live process answered the handshake with the right name and size. */
  | ({
      readonly status: 'qemu_started' | 'copying' | 'copied' | 'completed';
      readonly qemuNbdPid: number;
    } & DiskTargetRecord)
  | ({
      readonly status: 'failed';
      readonly error: StoredError;
      readonly qemuNbdPid?: number;
    } & Partial<DiskTargetRecord>)
  /** Cannot be in a snapshot; the reason is in `reason`. */
  | { readonly status: 'skipped' };

export type BackupDiskState = BackupDiskStatus['status'];
export const BACKUP_DISK_STATES = [
  'queued',
  'preparing',
  'qemu_started',
  'copying',
  'copied',
  'completed',
  'failed',
  'skipped',
] as const satisfies readonly BackupDiskState[];

/**
 * What a caller may turn a disk into; `completed` is reached by sealing, `skipped` by the plan. What is left out stays as
 * it was recorded before.
 */
export type BackupDiskChange =
  | { readonly status: 'queued' }
  | ({ readonly status: 'preparing' } & DiskTargetRecord)
  | ({ readonly status: 'qemu_started'; readonly qemuNbdPid: number } & Partial<DiskTargetRecord>)
  | ({ readonly status: 'copying' | 'copied'; readonly qemuNbdPid?: number } & Partial<DiskTargetRecord>)
  | ({
      readonly status: 'failed';
      readonly error: StoredError;
      readonly qemuNbdPid?: number;
    } & Partial<DiskTargetRecord>);

export type BackupDiskRecord = BackupDiskStatus & {
  readonly diskId: string;
  readonly diskKey: number;
  readonly diskNumber: number;
  readonly label: string;
  readonly backingUuid: string;
  readonly capacityBytes: number;
  readonly backupType: BackupType;
  /** Why it is full or incremental, or why it is skipped. */
  readonly reason: string;
  /** What was found when a planned incremental became a full, in words. */
  readonly reasonDetail: string | undefined;
  /** The restore point whose image is the backing file, and where its changes start; both only with `incremental`. */
  readonly parentPointId: string | undefined;
  readonly previousChangeId: string | undefined;
  /** Read from this backup's snapshot; valid for a next backup only once the point is sealed. */
  readonly changeId: string | undefined;
  /** Read from the source. */
  readonly bytesDone: number;
  /** That will be read. */
  readonly bytesTotal: number;
  /** Sent as data. */
  readonly bytesWritten: number;
  /** Sent as zeros, without data. */
  readonly bytesZeroed: number;
  /** Blocks that changed block tracking called unchanged and that were looked at; undefined before that, and for a full. */
  readonly auditedBlocks: number | undefined;
};

export interface PlannedDisk {
  /** Of the VM's context. */
  readonly diskId: string;
  readonly backupType: BackupType;
  readonly reason: string;
  readonly skipped?: boolean;
  readonly parentPointId?: string;
  readonly previousChangeId?: string;
}

export interface SnapshotRecord {
  readonly moref: string;
  readonly name: string;
  readonly quiesced: boolean;
  /** Why it is not quiesced although that was asked for. */
  readonly quiesceNote: string | undefined;
  readonly createdAt: Date;
  readonly removedAt: Date | undefined;
}

export type BackupStatus =
  | { readonly state: 'queued' }
  | { readonly state: 'preparing' | 'running' | 'sealing'; readonly startedAt: Date }
  | { readonly state: 'cancelling'; readonly startedAt: Date | undefined; readonly cancelReason: string }
  | {
      readonly state: 'completed';
      readonly startedAt: Date;
      readonly endedAt: Date;
      readonly restorePointId: string;
    }
  | {
      readonly state: 'failed';
      readonly startedAt: Date | undefined;
      readonly endedAt: Date;
      readonly error: StoredError;
    }
  | {
      readonly state: 'cancelled';
      readonly startedAt: Date | undefined;
      readonly endedAt: Date;
      readonly cancelReason: string;
    };

export type BackupState = BackupStatus['state'];
export type BackupRecord = BackupStatus & {
  /** `backup-<slug of the VM's name>-<YYYYMMDD-HHMMSS>`, `-2`, `-3` … appended when taken; also the id of its restore point. */
  readonly id: string;
  /** The end of the id, and so unique within the context: `20261121-084316`, `20261121-084316-2`. */
  readonly stamp: string;
  readonly contextId: string;
  readonly vmName: string;
  readonly vmInstanceUuid: string;
  readonly repositoryId: string;
  readonly nodeName: string;
  readonly type: BackupType;
  readonly quiesce: boolean;
  readonly requestedBy: string;
  readonly createdAt: Date;
  readonly snapshot: SnapshotRecord | undefined;
  readonly warnings: readonly StoredWarning[];
  /** Number of the node's last event that has been taken in. */
  readonly lastEventSequence: number;
  /** By disk number. */
  readonly disks: readonly BackupDiskRecord[];
};

/** What a caller may turn a backup into; `completed` is reached by sealing only. */
export type BackupStateChange =
  | { readonly state: 'preparing' | 'running' | 'sealing' }
  | { readonly state: 'cancelling' | 'cancelled'; readonly cancelReason: string }
  | { readonly state: 'failed'; readonly error: StoredError };

export interface DiskProgressChange {
  readonly diskKey: number;
  readonly bytesDone?: number;
  readonly bytesTotal?: number;
  readonly bytesWritten?: number;
  readonly bytesZeroed?: number;
  readonly auditedBlocks?: number;
}

export interface SealedDisk {
  readonly diskKey: number;
  /** Relative to the repository's path, so that a repository can be moved. */
  readonly imagePath: string;
  readonly hashesPath?: string;
  /** What the image file occupies. */
  readonly storedBytes: number;
  /**
   * How it was taken in the end, where that is said: it wins over the plan, because it is what the files are. `incremental`
   * needs `parentPointId`, `full` has none.
   * @default as recorded
   */
  readonly backupType?: BackupType;
  /** Only with `backupType`. @default as recorded */
  readonly reason?: string;
  /** Only with `backupType: 'incremental'`. */
  readonly parentPointId?: string;
}

export interface SealRequest {
  /** The instant that the point shows: the snapshot's creation. */
  readonly takenAt: Date;
  /** Relative to the repository's path. */
  readonly manifestPath: string;
  /** Every disk that is not skipped, exactly. */
  readonly disks: readonly SealedDisk[];
}
