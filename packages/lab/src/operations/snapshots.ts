import type { LabContext } from '../context.js';
import { inSnapshots } from '../model/devices.js';
import { changeIdOf } from '../model/ids.js';
import { newMoref } from '../model/inventory.js';
import type { DiskState, SnapshotDiskState, SnapshotState, VmState } from '../model/state.js';
import { layersOf, newDeltaName } from '../model/vmdks.js';
import { consolidate, deleteDisposable } from './consolidation.js';
import { publishSnapshot } from './publish.js';
import { revertTracking, startTracking } from './tracking.js';

export interface NewSnapshot {
  readonly name: string;
  readonly description: string;
  readonly quiesced: boolean;
}

/** Freezes every disk at one instant. */
export async function createSnapshot(
  context: LabContext,
  vm: VmState,
  wanted: NewSnapshot,
): Promise<SnapshotState> {
  const { state } = context;
  return context.locks.run(vm, async () => {
    if (context.changeIdsInFirstSnapshot) startTracking(vm);
    const frozen = vm.disks.filter((disk) => inSnapshots(disk));
    const snapshot: SnapshotState = {
      ...wanted,
      moref: newMoref(state, 'snapshot'),
      id: vm.nextSnapshotId++,
      createdAt: new Date().toISOString(),
      powerState: vm.powerState,
      ...(vm.currentSnapshot === undefined ? {} : { parent: vm.currentSnapshot }),
      disks: frozen.map((disk) => describe(disk)),
      otherDisks: vm.disks.filter((disk) => !inSnapshots(disk)).map((disk) => structuredClone(disk)),
    };
    for (const disk of frozen) startDelta(context, vm, disk);
    vm.snapshots.push(snapshot);
    vm.currentSnapshot = snapshot.moref;
    finishEpochs(context, vm);
    startTracking(vm);
    historyOf(context, vm).created++;
    if (context.keepFrozenImages) keepImages(context, vm, snapshot);
    await context.file.save();
    await publishSnapshot(context, vm, snapshot);
    return snapshot;
  });
}

function describe(disk: DiskState): SnapshotDiskState {
  const copy = structuredClone(disk);
  return copy.tracking ? { ...copy, tracking: copy.tracking, changeId: changeIdOf(copy.tracking) } : copy;
}

/** From now on the guest writes into a new file. */
function startDelta(context: LabContext, vm: VmState, disk: DiskState): void {
  const fileName = newDeltaName(vm, disk.fileName);
  vm.vmdks[fileName] = { parent: disk.fileName, layers: [context.layers.create(disk.sizeBytes).id] };
  disk.fileName = fileName;
}

function finishEpochs(context: LabContext, vm: VmState): void {
  for (const { tracking } of vm.disks) {
    if (!tracking) continue;
    context.changeLogs.of(tracking).finish(tracking.epoch);
    tracking.epoch++;
  }
}

function keepImages(context: LabContext, vm: VmState, snapshot: SnapshotState): void {
  for (const disk of snapshot.disks) {
    context.state.kept.push({
      vm: vm.moref,
      snapshot: snapshot.moref,
      snapshotName: snapshot.name,
      diskKey: disk.key,
      sizeBytes: disk.sizeBytes,
      layers: layersOf(vm, disk.fileName),
    });
  }
}

export function historyOf(context: LabContext, vm: VmState): { created: number; removed: number } {
  return (context.state.history[vm.moref] ??= { created: 0, removed: 0 });
}

/**
 * Takes a snapshot out of the tree; its children become its parent's. What it had frozen stays until it is merged.
 * @param andChildren the snapshots that were taken after it as well
 */
export async function forgetSnapshot(
  context: LabContext,
  vm: VmState,
  snapshot: SnapshotState,
  andChildren = false,
): Promise<void> {
  await context.locks.run(vm, async () => {
    if (!vm.snapshots.includes(snapshot)) return;
    const removed = andChildren ? [snapshot, ...descendants(vm, snapshot)] : [snapshot];
    for (const { moref, parent } of removed) {
      await context.vddk.withdrawSnapshot(vm.moref, moref);
      for (const child of vm.snapshots.filter((candidate) => candidate.parent === moref))
        reparent(child, parent);
      if (vm.currentSnapshot === moref) setCurrent(vm, parent);
      vm.snapshots = vm.snapshots.filter((candidate) => candidate.moref !== moref);
      historyOf(context, vm).removed++;
    }
    // What only the removed snapshots needed, such as a branch that was left by a revert.
    await deleteDisposable(context, vm);
    startTracking(vm);
    await context.file.save();
  });
}

function reparent(snapshot: SnapshotState, parent: string | undefined): void {
  if (parent === undefined) delete snapshot.parent;
  else snapshot.parent = parent;
}

function setCurrent(vm: VmState, snapshot: string | undefined): void {
  if (snapshot === undefined) delete vm.currentSnapshot;
  else vm.currentSnapshot = snapshot;
}

/** Deepest first, so that each is a leaf when it goes. */
function descendants(vm: VmState, snapshot: SnapshotState): SnapshotState[] {
  return vm.snapshots
    .filter(({ parent }) => parent === snapshot.moref)
    .flatMap((child) => [...descendants(vm, child), child]);
}

/** The VM goes on from the snapshot's disks; what was written since is lost. Change tracking goes back as well. */
export async function revertToSnapshot(
  context: LabContext,
  vm: VmState,
  snapshot: SnapshotState,
): Promise<void> {
  await context.locks.run(vm, async () => {
    const others = vm.disks.filter((disk) => !inSnapshots(disk));
    const disks: DiskState[] = [];
    for (const frozen of snapshot.disks) {
      const { changeId: _changeId, ...disk } = structuredClone(frozen);
      startDelta(context, vm, disk);
      revertTracking(vm, disk);
      disks.push(disk);
    }
    vm.disks = [...disks, ...others].sort((a, b) => a.key - b.key);
    vm.currentSnapshot = snapshot.moref;
    vm.powerState = snapshot.powerState;
    startTracking(vm);
    await deleteDisposable(context, vm);
    await context.file.save();
  });
  // The branch that was left may have been the second one that kept what a removed snapshot had frozen from being merged.
  await consolidate(context, vm);
}

/** Removes a snapshot and merges what it had frozen. */
export async function removeSnapshot(
  context: LabContext,
  vm: VmState,
  snapshot: SnapshotState,
): Promise<void> {
  await forgetSnapshot(context, vm, snapshot);
  await consolidate(context, vm);
}
