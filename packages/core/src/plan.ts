import { SendenseError } from './errors.js';
import { printable, slug } from './names.js';

/** One disk of the VM as it is now, with the number that the catalogue gave it. */
export interface VmDisk {
  /** Of the catalogue. */
  readonly diskId: string;
  /**
   * The `n` of `disk-<n>`: given once for a backing uuid under a device key, and never to another disk. A disk is never
   * known by its place in a list or by its label.
   */
  readonly number: number;
  /** The vSphere device key: 2000, 2001, 2016, … */
  readonly key: number;
  readonly label: string;
  /** Empty when the backing has none: such a disk is always read in full. */
  readonly backingUuid: string;
  readonly capacityBytes: number;
  /** Why it cannot be in a snapshot: `independent`, `physical_rdm`, `shared`. */
  readonly unsupportedReason?: string | undefined;
}

/** The newest sealed point of the same VM in the same repository. */
export interface PreviousPoint {
  readonly id: string;
  readonly disks: readonly PreviousDisk[];
}

export interface PreviousDisk {
  readonly number: number;
  readonly key: number;
  readonly backingUuid: string;
  readonly capacityBytes: number;
  /** Where the next changes start; undefined when the disk had no changed block tracking. */
  readonly changeId?: string | undefined;
  /** Of the image, relative to the repository. */
  readonly imagePath: string;
  /** What the newest full and the newest incremental read from the source: the best guess at the next one. */
  readonly lastBytesRead: { readonly full?: number; readonly incremental?: number };
  /** One of the images that it consists of is not where it should be. @default false */
  readonly missing?: boolean;
  /** It failed verification or an audit, or is built on one that did. @default false */
  readonly suspect?: boolean;
}

export interface PlanRequest {
  readonly vmName: string;
  readonly type: 'full' | 'incremental';
  readonly disks: readonly VmDisk[];
  readonly previous?: PreviousPoint | undefined;
}

/** Why a disk is read in full or only where it changed. Stable: shown by the API and kept in the manifest. */
export const PLAN_REASONS = {
  requested: 'a full backup was asked for',
  first_backup: 'this VM has no restore point in this repository yet',
  disk_added: 'the disk is not in the previous restore point',
  disk_replaced: 'another disk has the place of the one in the previous restore point',
  disk_moved: 'the disk has another device key than in the previous restore point',
  disk_resized: 'the capacity changed since the previous restore point',
  disk_unidentified: 'the disk has no backing uuid by which it could be recognised',
  parent_missing: 'an image that the previous restore point consists of is not in the repository',
  no_change_id: 'changed block tracking was off for this disk at the previous restore point',
  parent_suspect: 'the previous restore point failed verification or is in doubt',
  change_tracking_off: 'changed block tracking is off for this disk',
  change_id_stale: 'vCenter no longer knows what changed since the previous restore point',
  change_id_foreign: 'changed block tracking was started anew since the previous restore point',
  disk_reverted: 'the disk went back to an earlier state since the previous restore point',
  changed_areas_invalid: 'vCenter gave changed areas that contradict themselves',
  changed_blocks: 'only what changed since the previous restore point is read',
} as const;

export type PlanReason = keyof typeof PLAN_REASONS;

interface DiskPlanBase {
  readonly diskId: string;
  readonly number: number;
  readonly key: number;
  readonly label: string;
  readonly backingUuid: string;
  readonly capacityBytes: number;
  readonly reason: PlanReason;
  /** What will probably be read: as much as last time, or all of it. */
  readonly expectedBytes: number;
}

export interface FullDiskPlan extends DiskPlanBase {
  readonly type: 'full';
}

export interface IncrementalDiskPlan extends DiskPlanBase {
  readonly type: 'incremental';
  readonly parent: {
    readonly restorePointId: string;
    /** Of the parent's image, relative to the repository. */
    readonly imagePath: string;
    readonly changeId: string;
  };
}

export type DiskPlan = FullDiskPlan | IncrementalDiskPlan;

export interface SkippedDisk {
  readonly diskId: string;
  readonly number: number;
  readonly key: number;
  readonly label: string;
  readonly capacityBytes: number;
  readonly reason: string;
}

export interface DisksPlan {
  /** Ascending by key. */
  readonly disks: readonly DiskPlan[];
  readonly skipped: readonly SkippedDisk[];
}

/**
 * What a backup does with each disk, without touching anything. When anything about a disk is in doubt it is read in
 * full, and the reason says why: VMware's changeId is only meaningful for the very disk that it was read from.
 *
 * @throws `vm_has_no_disks` when no disk is left to back up
 */
export function planDisks(request: PlanRequest): DisksPlan {
  const ordered = request.disks.toSorted((a, b) => a.key - b.key);
  const skipped = ordered.flatMap(
    ({ unsupportedReason: reason, diskId, number, key, label, capacityBytes }) =>
      reason ? [{ diskId, number, key, label, capacityBytes, reason }] : [],
  );
  const disks = ordered.filter((disk) => !disk.unsupportedReason).map((disk) => planDisk(request, disk));
  if (disks.length === 0) throw noDisks(request.vmName, skipped);
  return { disks, skipped };
}

function planDisk(request: PlanRequest, disk: VmDisk): DiskPlan {
  const before = request.previous?.disks.find((candidate) => candidate.number === disk.number);
  const decision = decide(request, disk, before);
  const { diskId, number, key, label, backingUuid, capacityBytes } = disk;
  return {
    diskId,
    number,
    key,
    label,
    backingUuid,
    capacityBytes,
    expectedBytes: Math.min(expectedBytes(decision.type, before), capacityBytes),
    ...decision,
  };
}

/** More can have changed since a full than it had read only if the disk filled up meanwhile. */
function expectedBytes(type: 'full' | 'incremental', before: PreviousDisk | undefined): number {
  const { full = Infinity, incremental = full } = before?.lastBytesRead ?? {};
  return type === 'full' ? full : incremental;
}

type Decision =
  | { readonly type: 'full'; readonly reason: Exclude<PlanReason, 'changed_blocks'> }
  | {
      readonly type: 'incremental';
      readonly reason: 'changed_blocks';
      readonly parent: IncrementalDiskPlan['parent'];
    };

function decide({ type, previous }: PlanRequest, disk: VmDisk, before: PreviousDisk | undefined): Decision {
  if (type === 'full') return { type: 'full', reason: 'requested' };
  if (!previous) return { type: 'full', reason: 'first_backup' };
  if (disk.backingUuid === '') return { type: 'full', reason: 'disk_unidentified' };
  if (!before || before.key !== disk.key || before.backingUuid !== disk.backingUuid)
    return { type: 'full', reason: whyUnknown(previous, disk) };
  if (before.capacityBytes !== disk.capacityBytes) return { type: 'full', reason: 'disk_resized' };
  if (before.missing) return { type: 'full', reason: 'parent_missing' };
  if (before.suspect) return { type: 'full', reason: 'parent_suspect' };
  if (!before.changeId) return { type: 'full', reason: 'no_change_id' };
  return {
    type: 'incremental',
    reason: 'changed_blocks',
    parent: { restorePointId: previous.id, imagePath: before.imagePath, changeId: before.changeId },
  };
}

function whyUnknown({ disks }: PreviousPoint, disk: VmDisk): 'disk_moved' | 'disk_replaced' | 'disk_added' {
  if (disks.some((candidate) => candidate.backingUuid === disk.backingUuid)) return 'disk_moved';
  return disks.some((candidate) => candidate.key === disk.key) ? 'disk_replaced' : 'disk_added';
}

function noDisks(vmName: string, skipped: readonly SkippedDisk[]): SendenseError {
  const why =
    skipped.length === 0
      ? 'it has no virtual disk; add one, or end its protection'
      : skipped.map(({ key, label, reason }) => `disk ${key} (${printable(label)}) is ${reason}`).join(', ') +
        '; make one of them a virtual disk that is dependent and not shared, or back it up from within the guest';
  return new SendenseError(
    'vm_has_no_disks',
    `${printable(vmName)} has no disk that a VMware snapshot can hold: ${why}`,
    { context: { vm_name: vmName } },
  );
}

/** Where one disk of one backup lies, and under which name it is written. */
export interface DiskLayout {
  /** `<vm slug>-disk<n>` */
  readonly exportName: string;
  /** `<context id>/disk-<n>`, relative to the repository like the other paths. */
  readonly directory: string;
  /** The image under its final name. */
  readonly imagePath: string;
  readonly hashesPath: string;
}

/** The paths that people know: `<context id>/disk-<n>/backup-<vm slug>-disk<n>-<the end of the backup's id>.qcow2`. */
export function diskLayout(o: {
  readonly contextId: string;
  readonly vmName: string;
  readonly backupId: string;
  readonly number: number;
}): DiskLayout {
  const vm = slug(o.vmName);
  const exportName = `${vm}-disk${o.number}`;
  const directory = `${o.contextId}/disk-${o.number}`;
  // The rest of `backup-<vm slug>-<YYYYMMDD-HHMMSS>[-2]`: as unique as the id itself.
  const prefix = `backup-${vm}-`;
  const stamp = o.backupId.startsWith(prefix) ? o.backupId.slice(prefix.length) : slug(o.backupId);
  const stem = `${directory}/backup-${exportName}-${stamp}`;
  return { exportName, directory, imagePath: `${stem}.qcow2`, hashesPath: `${stem}.hashes` };
}

/** `<context id>/manifests/<backup id>.json`, relative to the repository. */
export function manifestPath(contextId: string, backupId: string): string {
  return `${contextId}/manifests/${backupId}.json`;
}
