/** The parts of the hub's answers that the CLI shows (docs/api.md). */

export interface Repository {
  readonly repository_id: string;
  readonly name: string;
  readonly type: string;
  readonly path: string;
  readonly status: string;
  readonly status_reason?: string | null;
  readonly total_bytes?: number | null;
  readonly used_bytes?: number | null;
  readonly available_bytes?: number | null;
  readonly backup_count: number;
}

export interface NodeInfo {
  readonly name: string;
  readonly state: string;
  readonly version?: string | null;
  readonly last_seen_at?: string | null;
  /** On the hub; null while the node is not connected. */
  readonly grpc_socket?: string | null;
  readonly checks?: readonly { readonly name: string; readonly ok: boolean; readonly detail: string }[];
}

export interface EnrolmentToken {
  readonly name: string;
  readonly enrolment_token: string;
  readonly expires_at: string;
}

export interface VCenter {
  readonly vcenter_id: string;
  readonly name: string;
  readonly node_name: string;
  readonly endpoint: string;
  readonly username: string;
  readonly thumbprint: string;
}

export interface DiscoveredVm {
  readonly moref: string;
  readonly name: string;
  readonly power_state: string;
  readonly disks: readonly { readonly capacity_bytes: number }[];
  readonly context_id?: string | null;
}

export interface ProtectedVm {
  readonly context_id: string;
  readonly vm_name: string;
  readonly moref: string;
  readonly vcenter_id?: string | null;
  readonly disks: readonly {
    readonly disk_key: number;
    readonly disk_number: number;
    readonly label: string;
    readonly capacity_bytes: number;
  }[];
  /** VMware's changed block tracking: without it every backup is a full. */
  readonly change_tracking?: { readonly state: string; readonly detail: string } | null;
}

export interface DiskResult {
  readonly disk_id: string;
  readonly disk_key: number;
  readonly disk_number: number;
  readonly label?: string | null;
  readonly capacity_bytes: number;
  readonly backup_type: string;
  readonly reason?: string | null;
  /** The same in words. */
  readonly reason_detail?: string | null;
  readonly nbd_port?: number | null;
  readonly nbd_export_name?: string | null;
  readonly qcow2_path?: string | null;
  readonly qemu_nbd_pid?: number | null;
  /** Blocks of 64 KiB that were looked at and found unchanged, as changed block tracking says; null for a full. */
  readonly audited_blocks?: number | null;
  readonly status: string;
}

export interface Progress {
  readonly bytes_done: number;
  readonly bytes_total: number;
  readonly bytes_per_second?: number | null;
  readonly seconds_left?: number | null;
}

export interface Backup {
  readonly backup_id: string;
  readonly vm_name: string;
  readonly repository_id: string;
  readonly backup_type: string;
  readonly state: string;
  readonly created_at?: string | null;
  readonly started_at?: string | null;
  readonly finished_at?: string | null;
  readonly disk_results: readonly DiskResult[];
  readonly skipped_disks?: readonly {
    readonly disk_key: number;
    readonly label?: string | null;
    readonly reason: string;
  }[];
  readonly warnings?: readonly { readonly code: string; readonly message: string }[];
  readonly progress?:
    (Progress & { readonly disks?: readonly (Progress & { readonly disk_key: number })[] }) | null;
  readonly error?: { readonly code: string; readonly message: string } | null;
}

/** What a dry run answers. */
export interface BackupPlan {
  readonly vm_name: string;
  readonly context_id: string;
  readonly repository_id: string;
  readonly backup_type: string;
  readonly disks: readonly {
    readonly disk_key: number;
    readonly disk_number: number;
    readonly label?: string | null;
    readonly capacity_bytes: number;
    readonly backup_type: string;
    readonly reason: string;
    readonly reason_text: string;
    readonly expected_bytes: number;
    readonly parent_point_id?: string | null;
  }[];
  readonly skipped_disks: readonly {
    readonly disk_key: number;
    readonly label?: string | null;
    readonly reason: string;
  }[];
  readonly expected_bytes: number;
  readonly ports_needed: number;
  readonly ports_free: number;
  readonly space_needed_bytes: number;
  readonly available_bytes: number;
  /** What the policy in force does once the new point is there. */
  readonly retention: { readonly remove: readonly string[]; readonly merge_bytes: number };
}

/** Long work on a repository other than a backup. */
export interface Task {
  readonly task_id: string;
  /** One of `TASK_KINDS`. */
  readonly kind: string;
  readonly state: string;
  readonly subject_type: string;
  readonly subject_id: string;
  readonly requested_by: string;
  readonly created_at: string;
  readonly started_at?: string | null;
  readonly ended_at?: string | null;
  /** While it is queued. */
  readonly queue_position?: number | null;
  readonly waiting_for?: string | null;
  /** null until it is known how much there is to do. */
  readonly bytes_done?: number | null;
  readonly bytes_total?: number | null;
  readonly cancel_reason?: string | null;
  readonly error?: {
    readonly code: string;
    readonly message: string;
    readonly context?: Readonly<Record<string, string>>;
  } | null;
  /** Depends on the kind. */
  readonly result?: Readonly<Record<string, unknown>> | null;
}

/** How many points to keep, by each rule. */
export interface RetentionPolicy {
  readonly keep_last: number;
  readonly daily: number;
  readonly weekly: number;
  readonly monthly: number;
  readonly yearly: number;
  readonly time_zone?: string | null;
}

export interface RetentionSetting {
  readonly policy: RetentionPolicy | null;
}

export interface RetentionPreview {
  readonly policy: RetentionPolicy | null;
  /** vm | repository | none */
  readonly policy_source: string;
  /** Newest first. */
  readonly points: readonly {
    readonly restore_point_id: string;
    readonly taken_at: string;
    readonly backup_type: string;
    readonly suspect?: boolean;
    readonly action: string;
    readonly reasons: readonly { readonly reason: string; readonly detail: string }[];
    /** Why it cannot be removed although no rule keeps it. */
    readonly blocked?: string | null;
    readonly removal?: {
      readonly methods: readonly string[];
      readonly bytes_to_copy: number;
      readonly bytes_freed: number;
      readonly fits: boolean;
    } | null;
  }[];
  readonly remove_count: number;
  readonly bytes_to_copy: number;
  readonly bytes_freed: number;
}

export interface RestorePoint {
  readonly restore_point_id: string;
  readonly vm_name: string;
  readonly repository_id: string;
  readonly backup_type: string;
  readonly taken_at: string;
  readonly sealed_at: string;
  readonly quiesced: boolean;
  /** sealed | removing */
  readonly state: string;
  /** Its content is in doubt. */
  readonly suspect: boolean;
  readonly suspect_reason?: string | null;
  /** passed | failed: the last one; this and the next three are null before the first. */
  readonly verification?: string | null;
  readonly verified_at?: string | null;
  /** Whether it read every block, or looked at the structure alone. */
  readonly verified_full?: boolean | null;
  readonly verification_detail?: string | null;
  readonly held_at?: string | null;
  readonly hold_reason?: string | null;
  readonly manifest_path: string;
  readonly stored_bytes: number;
  readonly disks: readonly {
    readonly disk_key: number;
    readonly disk_number: number;
    readonly capacity_bytes: number;
    readonly backup_type: string;
    readonly image_path: string;
    readonly parent_point_id?: string | null;
    readonly stored_bytes: number;
  }[];
}

export interface AuditEvent {
  readonly at: string;
  readonly action: string;
  readonly outcome: string;
  readonly actor: string;
  readonly subject_id?: string | null;
  readonly detail: Readonly<Record<string, string | number | boolean>>;
}
