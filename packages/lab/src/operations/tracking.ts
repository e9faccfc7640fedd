import type { Extent } from '@sendense/core';
import type { LabContext } from '../context.js';
import { inSnapshots } from '../model/devices.js';
import { newTrackingId } from '../model/ids.js';
import type { DiskState, TrackingState, VmState } from '../model/state.js';
import { layersOf } from '../model/vmdks.js';
import type { ChangeWindow } from '../storage/change-log.js';

/** Starts tracking where it is enabled and does not run yet: what a stun does. */
export function startTracking(vm: VmState): void {
  if (!vm.changeTrackingEnabled) return;
  for (const disk of vm.disks) {
    if (inSnapshots(disk)) disk.tracking ??= newTracking(vm);
  }
}

export function stopTracking(vm: VmState): void {
  for (const disk of vm.disks) delete disk.tracking;
}

/** Tracking starts anew under another uuid: every changeId so far becomes foreign. */
export function resetTracking(vm: VmState, diskKey?: number): void {
  for (const disk of vm.disks) {
    if (disk.tracking && (diskKey === undefined || disk.key === diskKey)) disk.tracking = newTracking(vm);
  }
}

/** The uuid stays, but every changeId so far becomes stale: what changed since is no longer known. */
export function forgetChanges(vm: VmState, diskKey?: number): void {
  for (const { key, tracking } of vm.disks) {
    if (tracking && (diskKey === undefined || key === diskKey)) tracking.unknownBefore = tracking.epoch;
  }
}

/**
 * A reverted disk counts on from where the snapshot was taken. The branch that it left has used the same numbers for
 * other states, and nothing tells them apart: VMware's own known defect ("reverting to a pre-existing snapshot can cause
 * incremental backups based on CBT to become inconsistent").
 */
export function revertTracking(vm: VmState, disk: DiskState): void {
  if (!vm.changeTrackingEnabled) delete disk.tracking;
  if (disk.tracking) disk.tracking.epoch++;
}

function newTracking(vm: VmState): TrackingState {
  return { id: newTrackingId(), epoch: 1, allocatedKnown: vm.allocatedKnown };
}

export function enableTracking(vm: VmState, enabled: boolean): void {
  if (enabled === vm.changeTrackingEnabled) return;
  vm.changeTrackingEnabled = enabled;
  vm.changeVersion = new Date().toISOString();
  vm.allocatedKnown = enabled && vm.snapshots.length === 0;
  if (!enabled) stopTracking(vm);
}

/** What a disk's guest is about to write belongs to the current epoch. */
export function recordChange(context: LabContext, disk: DiskState, extent: Extent): void {
  if (!disk.tracking) return;
  context.changeLogs.of(disk.tracking).record(disk.tracking.epoch, extent);
}

/** What was written after the end of epoch `after`, up to the end of the tracking's own. */
export function changedSince(
  context: LabContext,
  tracking: TrackingState,
  after: number,
  sizeBytes: number,
  window?: ChangeWindow,
): Extent[] {
  return context.changeLogs.of(tracking).changed(after, tracking.epoch, sizeBytes, window);
}

export function allocatedAreas(
  context: LabContext,
  vm: VmState,
  disk: { readonly fileName: string; readonly sizeBytes: number },
): Extent[] {
  const chain = context.layers.chain(layersOf(vm, disk.fileName), disk.sizeBytes);
  const merged: { offset: number; length: number }[] = [];
  for (const { offset, length } of chain.allocated()) {
    const last = merged.at(-1);
    if (last && last.offset + last.length === offset) last.length += length;
    else merged.push({ offset, length });
  }
  return merged;
}
