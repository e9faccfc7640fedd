import type { VmState } from './state.js';

// Which VMDK files a VM has and what each is there for. Pure: nothing here touches a file.

/** The layers that make up a VMDK's content, the oldest first. */
export function layersOf(vm: VmState, fileName: string): string[] {
  const vmdk = vm.vmdks[fileName];
  if (!vmdk) throw new RangeError(`${vm.moref} has no file ${fileName}`);
  return [...(vmdk.parent === undefined ? [] : layersOf(vm, vmdk.parent)), ...vmdk.layers];
}

export function childrenOf(vm: VmState, fileName: string): string[] {
  return Object.entries(vm.vmdks).flatMap(([child, vmdk]) => (vmdk.parent === fileName ? [child] : []));
}

/** Files that neither a disk writes nor a snapshot holds. */
function ownerless(vm: VmState): string[] {
  const owned = new Set([
    ...vm.disks.map((disk) => disk.fileName),
    ...vm.snapshots.flatMap((snapshot) => snapshot.disks.map((disk) => disk.fileName)),
  ]);
  return Object.keys(vm.vmdks).filter((fileName) => !owned.has(fileName));
}

/** What nothing depends on: the deltas that a revert, a removed disk or a removed snapshot left. */
export function disposableVmdk(vm: VmState): string | undefined {
  return ownerless(vm).find((fileName) => childrenOf(vm, fileName).length === 0);
}

/** A pair to be merged: what a removed snapshot had frozen, and the one delta that is based on it. */
export function mergeablePair(vm: VmState): { readonly parent: string; readonly child: string } | undefined {
  for (const parent of ownerless(vm)) {
    const [child, ...others] = childrenOf(vm, parent);
    if (child !== undefined && others.length === 0) return { parent, child };
  }
  return undefined;
}

export function consolidationNeeded(vm: VmState): boolean {
  return mergeablePair(vm) !== undefined;
}

/** The child's content becomes the parent's, under the parent's name, as vSphere commits a delta. */
export function mergeVmdks(vm: VmState, { parent, child }: { parent: string; child: string }): void {
  const [base, delta] = [vm.vmdks[parent], vm.vmdks[child]];
  if (!base || !delta) throw new RangeError(`${vm.moref} has not both ${parent} and ${child}`);
  base.layers.push(...delta.layers);
  delete vm.vmdks[child];
  for (const vmdk of Object.values(vm.vmdks)) if (vmdk.parent === child) vmdk.parent = parent;
  for (const disk of vm.disks) if (disk.fileName === child) disk.fileName = parent;
  for (const snapshot of vm.snapshots) {
    for (const disk of snapshot.disks) if (disk.fileName === child) disk.fileName = parent;
  }
}

/** `[labds] pgtest1/pgtest1_1.vmdk`: the next free name for a base disk. */
export function newBaseName(vm: VmState): string {
  const name = (index: number) =>
    `[${vm.datastore}] ${vm.directory}/${vm.directory}${index === 0 ? '' : `_${index}`}.vmdk`;
  let index = 0;
  while (name(index) in vm.vmdks) index++;
  return name(index);
}

/** `[labds] pgtest1/pgtest1_1-000002.vmdk`: the next free name for a delta of this file or of one of its deltas. */
export function newDeltaName(vm: VmState, fileName: string): string {
  const base = fileName.replace(/(-\d{6})?\.vmdk$/, '');
  const name = (index: number) => `${base}-${String(index).padStart(6, '0')}.vmdk`;
  let index = 1;
  while (name(index) in vm.vmdks) index++;
  return name(index);
}
