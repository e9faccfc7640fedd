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
  readonly socket_path?: string | null;
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
  readonly vcenter_id: string;
  readonly disks: readonly {
    readonly disk_key: number;
    readonly disk_number: number;
    readonly label: string;
    readonly capacity_bytes: number;
  }[];
}

export interface DiskResult {
  readonly disk_id: string;
  readonly disk_key: number;
  readonly disk_number: number;
  readonly label?: string | null;
  readonly capacity_bytes: number;
  readonly backup_type: string;
  readonly reason?: string | null;
  readonly nbd_port?: number | null;
  readonly nbd_export_name?: string | null;
  readonly qcow2_path?: string | null;
  readonly qemu_nbd_pid?: number | null;
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

export const FINAL_STATES: ReadonlySet<string> = new Set(['completed', 'failed', 'cancelled']);

export interface RestorePoint {
  readonly restore_point_id: string;
  readonly vm_name: string;
  readonly repository_id: string;
  readonly backup_type: string;
  readonly taken_at: string;
  readonly sealed_at: string;
  readonly quiesced: boolean;
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
