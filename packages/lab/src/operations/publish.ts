import type { LabContext } from '../context.js';
import type { SnapshotState, VmState } from '../model/state.js';
import { layersOf } from '../model/vmdks.js';

/** Tells the stand-in library what the snapshot's disks consist of. */
export async function publishSnapshot(
  context: LabContext,
  vm: VmState,
  snapshot: SnapshotState,
): Promise<void> {
  const disks = snapshot.disks.map((disk) => ({
    key: disk.key,
    sizeBytes: disk.sizeBytes,
    uuid: disk.uuid,
    fileName: disk.fileName,
    layers: layersOf(vm, disk.fileName)
      .toReversed()
      .map((id) => ({ sizeBytes: context.layers.get(id).sizeBytes, ...context.layers.paths(id) })),
  }));
  await context.vddk.publishSnapshot(vm.moref, snapshot.moref, disks);
}

/** After a merge: the same content consists of other files. */
export async function publishSnapshots(context: LabContext, vm: VmState): Promise<void> {
  for (const snapshot of vm.snapshots) await publishSnapshot(context, vm, snapshot);
}
