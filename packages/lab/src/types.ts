import type { Extent } from '@sendense/core';
import type { Listen, Logger } from '@sendense/runtime';

export interface LabOptions {
  /** Everything the lab keeps: disks, state, certificate, control socket. Created when missing, continued when there. */
  readonly directory: string;
  /** @default 127.0.0.1, any free port */
  readonly listen?: Listen;
  /** @default 'administrator@vsphere.local' */
  readonly username?: string;
  /** Without one, the directory's own: made at the first start and kept in its file `password` (0600). */
  readonly password?: string;
  /** How long snapshot tasks and the like take, at least. @default 50 */
  readonly taskDurationMs?: number;
  /** A session that is not used for so long is forgotten, as vCenter's 30 minutes. @default 1_800_000 */
  readonly sessionIdleMs?: number;
  /** Keep the image of every disk of every snapshot ever taken, for comparing after the removal. Costs only overwritten data. */
  readonly keepFrozenImages?: boolean;
  /**
   * Whether the first snapshot after switching change tracking on carries changeIds already, as VMware's VDDK guide has it
   * (its stun starts the tracking); otherwise the snapshots after it do. @default false
   */
  readonly changeIdsInFirstSnapshot?: boolean;
  /** Names under which clients reach it, besides the listening address and localhost. The endpoint shows the first. */
  readonly hostNames?: readonly string[];
  readonly log?: Logger;
}

export type ControllerKind = 'scsi' | 'sata' | 'nvme' | 'ide';
export type DiskMode = 'persistent' | 'independent_persistent' | 'independent_nonpersistent';
export type DiskBacking = 'file' | 'physical_rdm' | 'virtual_rdm';
export type PowerState = 'poweredOn' | 'poweredOff' | 'suspended';
export type ToolsState = 'running' | 'notRunning' | 'notInstalled';

export interface DiskSpec {
  /** A multiple of 512. */
  readonly sizeBytes: number;
  /** The device key. @default the controller's own for the unit: 2000 + 16 × bus + unit for SCSI */
  readonly key?: number;
  /** Kind and bus number: `scsi0`, `sata1`, `nvme0`. @default 'scsi0' */
  readonly controller?: `${ControllerKind}${number}`;
  /** @default the next free one of the controller (SCSI leaves out 7, its own) */
  readonly unitNumber?: number;
  /** @default true */
  readonly thin?: boolean;
  /** @default 'persistent' */
  readonly mode?: DiskMode;
  /** @default 'file' */
  readonly backing?: DiskBacking;
  /** Shared with other VMs through multi-writer; such a disk is left out of snapshots. @default false */
  readonly multiWriter?: boolean;
  /** On a SCSI controller whose bus is shared with other VMs; such a disk is left out too. @default false */
  readonly busShared?: boolean;
}

export interface VmSpec {
  readonly name: string;
  readonly disks?: readonly DiskSpec[];
  /** @default 'poweredOn' */
  readonly powerState?: PowerState;
  /** @default 'running' */
  readonly tools?: ToolsState;
  /** @default true */
  readonly changeTrackingSupported?: boolean;
  /** Starts with running change tracking, as a VM that another product has backed up. @default false */
  readonly changeTrackingEnabled?: boolean;
  /** @default 'vmx-19' */
  readonly hardwareVersion?: string;
  /** @default false */
  readonly template?: boolean;
  /** Names of its place; created when they do not exist yet. @default 'esxi-1.lab' */
  readonly host?: string;
  /** @default 'labds' */
  readonly datastore?: string;
  /** Folders below the datacenter's `vm` folder, slash-separated. @default '' */
  readonly folder?: string;
}

export interface LabDisk {
  readonly key: number;
  readonly label: string;
  readonly sizeBytes: number;
  readonly controllerKey: number;
  readonly unitNumber: number;
  /** The backing uuid: stable across snapshots and growing. */
  readonly uuid: string;
  /** `[datastore] folder/disk.vmdk`: with snapshots present the newest delta. */
  readonly fileName: string;
  readonly thin: boolean;
  readonly mode: DiskMode;
  readonly backing: DiskBacking;
  readonly multiWriter: boolean;
  readonly busShared: boolean;
  /** The current changeId; missing while change tracking does not run on it. */
  readonly changeId?: string;
}

export interface LabVm {
  readonly moref: string;
  readonly name: string;
  readonly instanceUuid: string;
  readonly powerState: PowerState;
  readonly tools: ToolsState;
  readonly host: string;
  readonly datastore: string;
  readonly folder: string;
  readonly changeTrackingSupported: boolean;
  readonly changeTrackingEnabled: boolean;
  readonly consolidationNeeded: boolean;
  readonly disks: readonly LabDisk[];
}

export interface LabSnapshot {
  readonly moref: string;
  readonly name: string;
  readonly description: string;
  readonly createdAt: Date;
  readonly quiesced: boolean;
  readonly parent?: string;
  readonly disks: readonly LabDisk[];
}

/** What the guest writes into its disk. The snapshots that exist do not see it. */
export type GuestWrite =
  | { readonly offset: number; readonly data: Uint8Array }
  | { readonly offset: number; readonly zeros: number }
  /** Incompressible bytes that are always the same for the same seed. */
  | { readonly offset: number; readonly random: string; readonly length: number }
  /** The file's content; its holes are skipped unless `sparse` is false, which writes them as zeros. */
  | { readonly offset: number; readonly fromFile: string; readonly sparse?: boolean };

export interface SnapshotHistory {
  readonly created: number;
  readonly removed: number;
}

/** How QueryChangedDiskAreas lies. */
export type ChangedAreasLie =
  /** Leaves out every second area. */
  | 'omit_areas'
  /** Says that there are none. */
  | 'no_areas'
  /** Answers with another startOffset than was asked. */
  | 'wrong_start_offset'
  /** Ends with its last area instead of at the end of the disk, and covers nothing after it. */
  | 'short_length'
  /** Covers nothing, for ever. */
  | 'zero_length'
  /** Areas beyond the end of the disk. */
  | 'beyond_end'
  /** Covers each stretch without changes by a page of its own, which names no area (true all the same). */
  | 'empty_pages'
  /** Areas that overlap each other and come in no order (true all the same). */
  | 'unordered';

export interface LabFault {
  /**
   * A method of the vSphere API (`CreateSnapshot_Task`), `*` for any of them, or one of the lab's own places:
   * `quiesce` (the guest cannot be quiesced), `consolidate` (a removed snapshot leaves its delta: consolidation needed),
   * `vddk.init`, `vddk.connect`, `vddk.open`, `vddk.read`, `vddk.allocated`.
   */
  readonly operation: string;
  /** Fail with this fault of VMware (`FileFault`, `GenericVmConfigFault`, …); for `vddk.*` a VIX error number. */
  readonly fault?: string;
  readonly message?: string;
  /** Where a method that starts a task fails or is delayed: the call, or the task. @default 'task' for those */
  readonly stage?: 'call' | 'task';
  /** Until it is cleared, at the longest. */
  readonly delayMs?: number;
  /** Drop the connection: before anything was done, or after it, so that only the answer is lost. */
  readonly drop?: 'before' | 'after' | boolean;
  /** The HTTP status of an answer that is no SOAP, as of a gateway in front of a dead vCenter. */
  readonly httpStatus?: number;
  readonly lie?: ChangedAreasLie;
  /** `vddk.*`: end the process at once, as a crash in the library does. */
  readonly crash?: boolean;
  /** How often. @default for ever */
  readonly times?: number;
  /** Let so many pass first. @default 0 */
  readonly after?: number;
  /** Only for this VM: moref or name. */
  readonly vm?: string;
  /** Only for this device key (`vddk.*`, QueryChangedDiskAreas). */
  readonly diskKey?: number;
  /** Only for reads that touch this range (`vddk.read`). */
  readonly extent?: Extent;
}

export interface ActiveFault extends LabFault {
  readonly id: number;
  /** How often it struck. */
  readonly struck: number;
}

/** What the lab has been asked so far. */
export interface Journal {
  /** Calls by method of the vSphere API. */
  readonly operations: Readonly<Record<string, number>>;
  readonly snapshots: Readonly<Record<string, SnapshotHistory>>;
}

/**
 * A simulated vCenter with VMs whose disks are real files, read through the stand-in libvixDiskLib. `vm` is a moref or a
 * name everywhere. Disposing it stops serving and keeps the directory.
 */
export interface Lab extends AsyncDisposable {
  readonly directory: string;
  /** `https://127.0.0.1:PORT/sdk` */
  readonly endpoint: string;
  readonly host: string;
  readonly port: number;
  /** Of the certificate: upper-case hexadecimal, bytes separated by colons. */
  readonly thumbprints: { readonly sha1: string; readonly sha256: string };
  readonly username: string;
  readonly password: string;
  readonly passwordFile: string;
  /** For nbdkit's `libdir=`. */
  readonly vddkLibdir: string;
  /** What the stand-in library finds this lab by: put it into nbdkit's environment. */
  readonly vddkEnvironment: { readonly LAB_VDDK_DIR: string };

  /** @throws `already_exists` · `invalid_argument` */
  createVm(spec: VmSpec): Promise<LabVm>;
  /** @throws `vm_not_found` */
  vm(vm: string): LabVm;
  vms(): LabVm[];
  removeVm(vm: string): Promise<void>;
  setPower(vm: string, state: PowerState): Promise<void>;
  setTools(vm: string, state: ToolsState): Promise<void>;

  /** @throws `invalid_argument` when it reaches beyond the end of the disk */
  guestWrite(vm: string, diskKey: number, write: GuestWrite | readonly GuestWrite[]): Promise<void>;
  /**
   * A raw file with the disk's content: of a snapshot (moref or name), also of a removed one when frozen images are kept,
   * otherwise of this moment.
   * @throws `not_found`
   */
  diskImage(vm: string, diskKey: number, options?: { readonly snapshot?: string }): Promise<string>;
  addDisk(vm: string, spec: DiskSpec): Promise<LabDisk>;
  removeDisk(vm: string, diskKey: number): Promise<void>;
  /** @throws `conflict` while snapshots exist, as vSphere refuses it */
  growDisk(vm: string, diskKey: number, sizeBytes: number): Promise<LabDisk>;
  /** Another, empty disk takes the place of this one: the same key, another backing uuid. @param options.sizeBytes default: as before */
  replaceDisk(vm: string, diskKey: number, options?: { readonly sizeBytes?: number }): Promise<LabDisk>;

  /** Those that exist now, parents first. */
  snapshots(vm: string): LabSnapshot[];
  snapshotHistory(vm: string): SnapshotHistory;
  /** As somebody else would, past the API and its faults. */
  createSnapshot(
    vm: string,
    options: { readonly name: string; readonly description?: string },
  ): Promise<LabSnapshot>;
  removeSnapshot(vm: string, snapshot: string): Promise<void>;
  /** The sequence numbers of the changeIds go back, too, and are given a second time from there. */
  revertToSnapshot(vm: string, snapshot: string): Promise<void>;
  consolidate(vm: string): Promise<void>;

  /** Enables and starts change tracking at once, or turns it off. */
  setChangeTracking(vm: string, enabled: boolean): Promise<void>;
  /** New changeId uuids, as after an unclean shutdown: earlier changeIds become foreign. */
  resetChangeTracking(vm: string, diskKey?: number): Promise<void>;
  /** Earlier changeIds become stale although their uuid stays: vCenter answers FileFault to them. */
  forgetChanges(vm: string, diskKey?: number): Promise<void>;

  /** @returns its id */
  setFault(fault: LabFault): number;
  /** One of them, those of an operation, or all. */
  clearFaults(which?: number | string): void;
  faults(): ActiveFault[];
  /** Every session is forgotten: the next calls get NotAuthenticated. */
  expireSessions(): void;
  sessionCount(): number;
  /** The API is gone: connections end and are refused, until it is back at the same port. */
  stopVCenter(): Promise<void>;
  startVCenter(): Promise<void>;
  journal(): Journal;
}
