import type { LabContext } from '../context.js';
import type { VmState } from '../model/state.js';
import { disposableVmdk, mergeablePair, mergeVmdks } from '../model/vmdks.js';
import { publishSnapshots } from './publish.js';

/**
 * Merges what removed snapshots had frozen with the delta above it: first in name, which changes no content, then in the
 * files, where no kept image needs them as they are. A crash at any point leaves something that can be consolidated again.
 */
export async function consolidate(context: LabContext, vm: VmState): Promise<void> {
  await context.locks.run(vm, async () => {
    for (let pair = mergeablePair(vm); pair; pair = mergeablePair(vm)) mergeVmdks(vm, pair);
    await publishSnapshots(context, vm);
    await context.file.save();
  });
  for (const fileName of Object.keys(vm.vmdks)) await mergeLayers(context, vm, fileName);
}

/** Files that nothing depends on. The caller holds the VM's lock. */
export async function deleteDisposable(context: LabContext, vm: VmState): Promise<void> {
  for (;;) {
    const fileName = disposableVmdk(vm);
    const vmdk = fileName === undefined ? undefined : vm.vmdks[fileName];
    if (fileName === undefined || !vmdk) return;
    delete vm.vmdks[fileName];
    await context.file.save();
    discardLayers(context, vmdk.layers);
  }
}

/** Removes the files of layers that no VMDK has any more, but for those of kept images. */
export function discardLayers(context: LabContext, layers: readonly string[]): void {
  for (const layer of layers) if (!isKept(context, layer)) context.layers.discard(layer);
}

function isKept(context: LabContext, layer: string): boolean {
  return context.state.kept.some((image) => image.layers.includes(layer));
}

async function mergeLayers(context: LabContext, vm: VmState, fileName: string): Promise<void> {
  for (let lower = 0; ;) {
    const [into, from] = vm.vmdks[fileName]?.layers.slice(lower) ?? [];
    if (into === undefined || from === undefined) return;
    if (isKept(context, into) || isKept(context, from)) {
      lower++;
      continue;
    }
    await context.locks.run(vm, async () => commitLayer(context, vm, fileName, into, from));
  }
}

/** Everything that the newer layer holds goes into the older one, which takes its place. */
async function commitLayer(
  context: LabContext,
  vm: VmState,
  fileName: string,
  into: string,
  from: string,
): Promise<void> {
  const vmdk = vm.vmdks[fileName];
  if (!vmdk?.layers.includes(from)) return;
  const [target, source] = [context.layers.get(into), context.layers.get(from)];
  target.grow(source.sizeBytes);
  const delta = context.layers.chain([from], source.sizeBytes);
  await delta.copyInto(context.layers.chain([into], source.sizeBytes));
  vmdk.layers = vmdk.layers.filter((layer) => layer !== from);
  await publishSnapshots(context, vm);
  await context.file.save();
  context.layers.discard(from);
}
