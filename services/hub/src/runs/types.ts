import type {
  BackupDiskState,
  BackupRecord,
  BackupState,
  StoredError,
  StoredWarning,
} from '@sendense/catalog';
import type { DiskPlan, SkippedDisk } from '@sendense/core';

/** What somebody asked for. */
export interface BackupRequest {
  readonly contextId: string;
  readonly repositoryId: string;
  readonly type: 'full' | 'incremental';
  /** Ask the guest to flush its file systems; what really happened is in the record. */
  readonly quiesce: boolean;
  /** Who asked, for the record: `token:<id>`, `schedule`. */
  readonly requestedBy: string;
}

/** What a backup would do: the first step of every run. */
export interface BackupPlan {
  readonly contextId: string;
  readonly vmName: string;
  readonly repositoryId: string;
  readonly type: 'full' | 'incremental';
  readonly disks: readonly DiskPlan[];
  readonly skippedDisks: readonly SkippedDisk[];
  /** What will probably be read, at most the capacity of all disks. */
  readonly expectedBytes: number;
  /** NBD ports that it needs, one a disk. */
  readonly ports: number;
  /** Free in the repository now. */
  readonly availableBytes: number;
}

/** A plan that nobody carries out, with what it would mean for everything else. */
export interface BackupPreview extends BackupPlan {
  /** NBD ports that nobody uses now. */
  readonly portsFree: number;
  /** What the repository would take up if all that is expected has to be stored. */
  readonly spaceNeededBytes: number;
  /** What the retention policy in force would do once the new point is there. */
  readonly retention: {
    /** Ids of restore points, oldest first. */
    readonly remove: readonly string[];
    /** What merging them into the points that stay would copy, at most. */
    readonly mergeBytes: number;
  };
}

/** How far something is. Rates are those of the last seconds; secondsLeft is undefined while nothing moves. */
export interface Progress {
  readonly bytesDone: number;
  readonly bytesTotal: number;
  readonly bytesPerSecond: number;
  readonly secondsLeft: number | undefined;
}

export interface BackupProgress extends Progress {
  readonly disks: readonly (Progress & { readonly diskKey: number })[];
}

/**
 * Something that happened to a backup. Numbers ascend within a backup; only the newest progress is replayed, so a
 * subscriber that comes late sees gaps. The last event is a state of `completed`, `failed` or `cancelled`.
 */
export type BackupEvent = { readonly sequence: number; readonly at: Date } & BackupHappening;

export type BackupHappening =
  | { readonly type: 'state'; readonly state: BackupState; readonly error?: StoredError }
  | {
      readonly type: 'disk';
      readonly diskKey: number;
      readonly status: BackupDiskState;
      /** Set when an incremental turned out to be impossible. */
      readonly full?: { readonly reason: string; readonly detail: string };
    }
  | { readonly type: 'snapshot_created'; readonly moref: string; readonly quiesced: boolean }
  | { readonly type: 'snapshot_removed'; readonly moref: string }
  | { readonly type: 'progress'; readonly progress: BackupProgress }
  | { readonly type: 'warning'; readonly warning: StoredWarning };

/** A port of the hub's loopback that one job of one node may reach through the tunnel. */
export interface PortLease {
  readonly port: number;
  readonly jobId: string;
  readonly nodeName: string;
}

/** A port of the range that a process which is not ours holds. */
export interface TakenPort {
  readonly port: number;
  readonly seenAt: Date;
}

export interface PortView {
  readonly first: number;
  readonly last: number;
  readonly leased: readonly PortLease[];
  readonly taken: readonly TakenPort[];
  readonly free: number;
}

export interface QueuedBackup {
  readonly jobId: string;
  /** 1 is next. */
  readonly position: number;
  /** What it waits for: `2 NBD ports`, `ESXi host host-21`. */
  readonly waitingFor: string;
  readonly since: Date;
}

export interface RunningBackup {
  readonly jobId: string;
  readonly contextId: string;
  readonly vmName: string;
  readonly nodeName: string;
  readonly state: BackupState;
  readonly qemuNbdPids: readonly number[];
}

export type PortDecision =
  { readonly allowed: true; readonly jobId: string } | { readonly allowed: false; readonly reason: string };

/** The backups of this hub: what the API, the tunnel and the metrics ask. */
export interface BackupRuns extends AsyncDisposable {
  /**
   * Starts a backup. Answers when its targets are up, when it is queued, or after 1.5 s, whichever comes first; what goes
   * wrong later is in the record and in its events.
   *
   * @throws before anything is recorded: `vm_not_protected` · `repository_not_found` · `credentials_missing` ·
   *   `backup_already_running` · `no_port_available` (more disks than ports) · `shutting_down`; afterwards, with
   *   `backup_id` in the context of the error and of the failed record: `node_offline` · `repository_missing` ·
   *   `repository_not_writable` · `repository_full` · `vm_has_no_disks` · `target_create_failed` · `qemu_nbd_missing` · …
   */
  start(request: BackupRequest): Promise<BackupRecord>;
  /** The same decisions with nothing done but asking the node which disks the VM has. @throws as {@link start} */
  plan(request: BackupRequest): Promise<BackupPreview>;
  /**
   * Asks a backup to stop and answers at once; it ends as `cancelled` when everything is released. One that has ended
   * stays as it is. @throws `job_not_found`
   */
  cancel(backupId: string, reason: string): Promise<BackupRecord>;
  /** The events with a higher number, then those that follow; ends with the backup. @throws `job_not_found` */
  events(backupId: string, afterSequence: number, signal?: AbortSignal): AsyncIterable<BackupEvent>;
  /** Of a running backup; undefined for one that waits or has ended. */
  progress(backupId: string): BackupProgress | undefined;
  leases(): PortView;
  running(): RunningBackup[];
  /** In order. */
  queue(): QueuedBackup[];

  /** No new ones from now on, and those that wait are ended; settles when those that run have ended. */
  drain(): Promise<void>;

  /** For the tunnel's policy: whether this is the port of a running job of that very node (and of that job, on a lane). */
  mayOpen(request: {
    readonly nodeName: string;
    readonly jobId: string | undefined;
    readonly host: string;
    readonly port: number;
  }): PortDecision;
  /** For the tunnel's policy: whether the node may open data connections for this job now. */
  mayOpenLane(nodeName: string, jobId: string): boolean;
  /** The tunnel tells that a node is there (again): what was left to do on it is tried at once. */
  nodeConnected(nodeName: string): void;
}
