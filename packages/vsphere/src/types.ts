import type { Extent } from '@sendense/core';
import type { Logger } from '@sendense/runtime';

export interface ConnectOptions {
  /** `host`, `host:port` or `https://host[:port][/sdk]` of a vCenter or an ESXi host. */
  readonly endpoint: string;
  readonly username: string;
  readonly password: string;
  /**
   * The pinned certificate: SHA-256 or SHA-1 of its DER form, hexadecimal, with or without colons, in any case. Without
   * one nothing is sent: the connection is refused with `vcenter_thumbprint_unconfirmed`, which carries what was presented.
   */
  readonly thumbprint?: string;
  readonly log: Logger;
  /** Ends the attempt to connect. It does not end the session. */
  readonly signal?: AbortSignal;
  /** How long one answer may take, connecting included. @default 60_000 */
  readonly requestTimeoutMs?: number;
  /** How long any one task may take; without it each kind of task has its own limit. */
  readonly taskTimeoutMs?: number;
}

/** Fingerprints of a certificate as vSphere shows them: upper-case hexadecimal, bytes separated by colons. */
export interface Thumbprints {
  readonly sha256: string;
  /** What VDDK asks for. */
  readonly sha1: string;
}

export interface AboutVSphere {
  /** `VMware vCenter Server`, `VMware ESXi`. */
  readonly product: string;
  readonly version: string;
  readonly apiVersion: string;
  /** Empty on a standalone ESXi host. */
  readonly instanceUuid: string;
}

/**
 * Why a snapshot does not hold a disk. `unsupported_backing` is a disk without a file of its own, which VDDK cannot open.
 */
export type UnsupportedDiskReason = 'independent' | 'physical_rdm' | 'shared' | 'unsupported_backing';

export interface VirtualDisk {
  /** The vSphere device key: 2000, 2001, 2016, … */
  readonly key: number;
  readonly label: string;
  /** Empty when vSphere names none. */
  readonly backingUuid: string;
  /** `[datastore] vm/disk.vmdk`; with snapshots present the newest delta. */
  readonly backingFile: string;
  readonly datastore: string;
  readonly capacityBytes: number;
  readonly controllerKey: number;
  readonly unitNumber: number;
  readonly thinProvisioned: boolean;
  /** There while changed block tracking runs on the disk. It is of this moment: changes are asked for since a snapshot's. */
  readonly changeId?: string;
  readonly unsupportedReason?: UnsupportedDiskReason;
}

export interface VirtualMachine {
  readonly moref: string;
  readonly instanceUuid: string;
  readonly name: string;
  /** `poweredOn`, `poweredOff`, `suspended`. */
  readonly powerState: string;
  /** `guestToolsRunning`, `guestToolsNotRunning`, …; empty when unknown. */
  readonly toolsStatus: string;
  readonly hostMoref: string;
  readonly hostName: string;
  readonly guestFullName: string;
  readonly changeTrackingSupported: boolean;
  readonly changeTrackingEnabled: boolean;
  /** Snapshots that exist now, whoever made them. */
  readonly snapshotCount: number;
  readonly disks: readonly VirtualDisk[];
  /** `vmx-13` */
  readonly hardwareVersion: string;
}

/** All given parts must match; none given: every VM that is no template. */
export interface VirtualMachineFilter {
  readonly moref?: string;
  readonly instanceUuid?: string;
  readonly name?: string;
  /** `Datacenter/vm/folder/name`, with or without a leading slash; a slash inside a name is `%2f`. */
  readonly inventoryPath?: string;
}

export interface Snapshot {
  readonly moref: string;
  readonly name: string;
  readonly description: string;
  readonly createdAt: Date;
}

/** A disk as the snapshot's own configuration describes it: what to read, and the changeId of that instant. */
export interface SnapshotDisk {
  readonly key: number;
  /** `[datastore] vm/disk.vmdk`: what VDDK opens. */
  readonly fileName: string;
  readonly backingUuid: string;
  /** Missing when the disk had no changed block tracking at that instant. */
  readonly changeId?: string;
  readonly capacityBytes: number;
  readonly unsupportedReason?: UnsupportedDiskReason;
  readonly controllerKey: number;
  readonly unitNumber: number;
}

export type ChangeTrackingOutcome = 'already_enabled' | 'enabled_now' | 'snapshots_exist' | 'not_supported';

export interface SnapshotRequest {
  readonly name: string;
  readonly description: string;
  /** Ask the guest to flush its file systems first. The answer says what really happened. */
  readonly quiesce: boolean;
}

export interface CreatedSnapshot {
  readonly moref: string;
  readonly quiesced: boolean;
  /** Why it is not quiesced although that was asked for. */
  readonly quiesceNote?: string;
}

export interface ChangedAreasRequest {
  readonly vmMoref: string;
  readonly snapshotMoref: string;
  readonly diskKey: number;
  /** Of an earlier snapshot of the same disk; `*` for all allocated areas. */
  readonly changeId: string;
  /** As the snapshot's configuration gives it: the answer must cover exactly this much. */
  readonly capacityBytes: number;
  readonly signal?: AbortSignal;
}

/**
 * A logged-in vCenter or ESXi host. Disposing it logs out. An expired session is renewed once, unseen by the caller.
 *
 * Every call may throw `vcenter_unreachable` · `vcenter_protocol` · `vcenter_thumbprint_mismatch` ·
 * `vcenter_session_expired` · `vcenter_login_failed` (the renewal was refused) · `vcenter_fault`, whose context has
 * VMware's own name of the fault as `fault`.
 */
export interface VSphereSession extends AsyncDisposable {
  readonly about: AboutVSphere;
  readonly thumbprints: Thumbprints;

  /**
   * The VMs that match, templates left out; empty when none does.
   * @throws `vm_not_found` when the one VM that was named exists but vCenter has lost its configuration
   */
  listVirtualMachines(filter?: VirtualMachineFilter): Promise<VirtualMachine[]>;

  /** The whole tree, parents before children. @throws `vm_not_found` */
  snapshots(vmMoref: string): Promise<Snapshot[]>;

  /**
   * Turns changed block tracking on where that is safe; it starts with the next snapshot.
   * @throws `vm_not_found` · `vcenter_task_timeout`
   */
  enableChangeTracking(vmMoref: string, signal?: AbortSignal): Promise<ChangeTrackingOutcome>;

  /**
   * One snapshot of all disks, without memory. A cancelled one is taken back before this throws. When vCenter is lost in
   * between (`vcenter_unreachable`), only its name tells later whether it exists: choose one that can be searched for.
   * @throws `vm_not_found` · `snapshot_create_failed` · `vcenter_task_timeout` · `cancelled`
   */
  createSnapshot(vmMoref: string, request: SnapshotRequest, signal?: AbortSignal): Promise<CreatedSnapshot>;

  /** From the snapshot's own configuration, not the VM's. @throws `not_found` when the snapshot is gone */
  snapshotDisks(snapshotMoref: string): Promise<SnapshotDisk[]>;

  /**
   * Where the disk changed since `changeId`: ascending, disjoint, inside the capacity. A superset of the real changes.
   * @throws `changed_areas_unavailable` (take a full) · `changed_areas_invalid` (the answer contradicts itself) · `cancelled`
   */
  changedAreas(request: ChangedAreasRequest): Promise<Extent[]>;

  /**
   * Removes one snapshot, keeps its children, and waits until its disks are consolidated. One that is gone already counts
   * as removed. The signal ends the waiting, not the removal.
   * @throws `snapshot_remove_failed` · `vcenter_task_timeout` · `cancelled`
   */
  removeSnapshot(snapshotMoref: string, signal?: AbortSignal): Promise<void>;

  /** Consolidates the VM's disks when vSphere says that they need it; whether it did. @throws `vcenter_task_timeout` */
  consolidateIfNeeded(vmMoref: string, signal?: AbortSignal): Promise<boolean>;
}
