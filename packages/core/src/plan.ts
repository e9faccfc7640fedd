import { SendenseError } from './errors.js';
import { printable, slug } from './names.js';

/** One disk of the VM as it is now, from its inventory. */
export interface VmDisk {
  /** The vSphere device key: 2000, 2001, 2016, … */
  readonly key: number;
  readonly label: string;
  /** Empty when the backing has none: the disk is then known by its key alone, and always read in full. */
  readonly backingUuid: string;
  readonly capacityBytes: number;
  /** Why it cannot be in a snapshot: `independent`, `physical_rdm`, `shared`. */
  readonly unsupportedReason?: string;
}

/** A disk that the context has seen before, in this VM now or not. */
export interface KnownDisk {
  /** The `n` of `disk-<n>`: it belongs to this disk for ever. */
  readonly number: number;
  readonly key: number;
  readonly backingUuid: string;
}

/** The newest sealed point of the same context in the same repository. */
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
  readonly changeId?: string;
  /** Of the image, relative to the repository. */
  readonly path: string;
  readonly type: 'full' | 'incremental';
  /** Bytes read from the source, the best guess at the next one of the same type. */
  readonly bytesRead: number;
}

export interface PlanRequest {
  readonly contextId: string;
  readonly vmName: string;
  readonly type: 'full' | 'incremental';
  /** The end of the backup's id, and so unique within its context: `20261121-084316`, `20261121-084316-2`. */
  readonly stamp: string;
  readonly disks: readonly VmDisk[];
  readonly knownDisks: readonly KnownDisk[];
  readonly previous?: PreviousPoint;
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
  no_change_id: 'changed block tracking was off for this disk at the previous restore point',
  changed_blocks: 'only what changed since the previous restore point is read',
} as const;

export type PlanReason = keyof typeof PLAN_REASONS;

interface DiskPlanBase {
  readonly key: number;
  readonly label: string;
  readonly backingUuid: string;
  readonly capacityBytes: number;
  readonly number: number;
  readonly reason: PlanReason;
  /** What will probably be read: as much as last time, or all of it. */
  readonly expectedBytes: number;
  /** `<vm slug>-disk<n>` */
  readonly exportName: string;
  /** Relative to the repository, like the other paths: `<context id>/disk-<n>`. */
  readonly directory: string;
  /** The image under its final name. */
  readonly imagePath: string;
  readonly hashesPath: string;
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
  readonly key: number;
  readonly label: string;
  readonly reason: string;
}

export interface DisksPlan {
  /** Ascending by key. */
  readonly disks: readonly DiskPlan[];
  readonly skipped: readonly SkippedDisk[];
}

/**
 * What a backup does with each disk, without touching anything. A disk is recognised by its backing uuid and device key,
 * never by its place in a list; when anything about it is in doubt it is read in full, and the reason says why
 * (VMware: a changeId is only meaningful for the very disk that it was read from).
 *
 * @throws `vm_has_no_disks` when no disk is left to back up
 */
export function planDisks(request: PlanRequest): DisksPlan {
  const ordered = request.disks.toSorted((a, b) => a.key - b.key);
  const skipped = ordered.flatMap(({ key, label, unsupportedReason }) =>
    unsupportedReason ? [{ key, label, reason: unsupportedReason }] : [],
  );
  const usable = ordered.filter((disk) => !disk.unsupportedReason);
  if (usable.length === 0) throw noDisks(request.vmName, skipped);
  const numbers = assignNumbers(usable, request.knownDisks);
  const disks = usable.map((disk, index) => planDisk(request, disk, numbers[index] ?? index));
  return { disks, skipped };
}

/**
 * The number of each disk, in the order given. A known disk keeps its number, also when it moved to another controller;
 * a new one gets a number that no disk of the context ever had.
 */
export function assignNumbers(disks: readonly VmDisk[], known: readonly KnownDisk[]): number[] {
  const left = new Set(known);
  const assigned = new Map<VmDisk, number>();
  const take = (disk: VmDisk, match: (candidate: KnownDisk) => boolean) => {
    if (assigned.has(disk)) return;
    const found = [...left].find(
      (candidate) => candidate.backingUuid === disk.backingUuid && match(candidate),
    );
    if (!found) return;
    left.delete(found);
    assigned.set(disk, found.number);
  };
  // Exact matches first: a VM may carry two copies of one disk, which share a backing uuid.
  for (const disk of disks) take(disk, (candidate) => candidate.key === disk.key);
  for (const disk of disks) if (disk.backingUuid !== '') take(disk, () => true);
  let next = Math.max(-1, ...known.map((disk) => disk.number)) + 1;
  return disks.map((disk) => assigned.get(disk) ?? next++);
}

function planDisk(request: PlanRequest, disk: VmDisk, number: number): DiskPlan {
  const { contextId, vmName, stamp, previous } = request;
  const vm = slug(vmName);
  const directory = `${contextId}/disk-${number}`;
  const stem = `${directory}/backup-${vm}-disk${number}-${stamp}`;
  const before = previous?.disks.find((candidate) => candidate.number === number);
  const decision = decide(request, disk, before);
  const base = {
    key: disk.key,
    label: disk.label,
    backingUuid: disk.backingUuid,
    capacityBytes: disk.capacityBytes,
    number,
    reason: decision.reason,
    expectedBytes:
      before?.type === decision.type ? Math.min(before.bytesRead, disk.capacityBytes) : disk.capacityBytes,
    exportName: `${vm}-disk${number}`,
    directory,
    imagePath: `${stem}.qcow2`,
    hashesPath: `${stem}.hashes`,
  };
  return decision.type === 'full'
    ? { ...base, type: 'full' }
    : { ...base, type: 'incremental', parent: decision.parent };
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
  if (!before) {
    const replaced = previous.disks.some((candidate) => candidate.key === disk.key);
    return { type: 'full', reason: replaced ? 'disk_replaced' : 'disk_added' };
  }
  if (disk.backingUuid === '') return { type: 'full', reason: 'disk_unidentified' };
  if (before.backingUuid !== disk.backingUuid) return { type: 'full', reason: 'disk_replaced' };
  if (before.key !== disk.key) return { type: 'full', reason: 'disk_moved' };
  if (before.capacityBytes !== disk.capacityBytes) return { type: 'full', reason: 'disk_resized' };
  if (!before.changeId) return { type: 'full', reason: 'no_change_id' };
  return {
    type: 'incremental',
    reason: 'changed_blocks',
    parent: { restorePointId: previous.id, imagePath: before.path, changeId: before.changeId },
  };
}

function noDisks(vmName: string, skipped: readonly SkippedDisk[]): SendenseError {
  const why =
    skipped.length === 0
      ? 'it has no virtual disk'
      : skipped.map(({ key, label, reason }) => `disk ${key} (${printable(label)}) is ${reason}`).join(', ');
  return new SendenseError(
    'vm_has_no_disks',
    `${printable(vmName)} has no disk that a VMware snapshot can hold: ${why}`,
    { context: { vm_name: vmName } },
  );
}
