import { writeSync } from 'node:fs';
import { access, mkdir, open, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { SendenseError } from '@sendense/core';
import type { LabContext } from '../context.js';
import type { VmState } from '../model/state.js';
import { layersOf } from '../model/vmdks.js';
import { findDisk } from './disks.js';

/**
 * A raw file with the content of a disk, sparse where nothing was written.
 * @throws `not_found` for a snapshot that is neither there nor kept, or that does not hold the disk
 */
export async function diskImage(
  context: LabContext,
  vm: VmState,
  diskKey: number,
  snapshot: string | undefined,
): Promise<string> {
  if (snapshot === undefined) {
    const disk = findDisk(vm, diskKey);
    return context.locks.run(vm, async () =>
      makeImage(context, `${vm.moref}-${diskKey}-now`, layersOf(vm, disk.fileName), disk.sizeBytes),
    );
  }
  const kept = context.state.kept.findLast(
    (image) =>
      image.vm === vm.moref &&
      image.diskKey === diskKey &&
      (image.snapshot === snapshot || image.snapshotName === snapshot),
  );
  if (kept) {
    const [only, ...others] = kept.layers;
    // The one layer is the image: kept layers are never written again.
    if (only !== undefined && others.length === 0) return context.layers.paths(only).data;
    return frozenImage(context, `${vm.moref}-${diskKey}-${kept.snapshot}`, kept.layers, kept.sizeBytes);
  }
  const taken = vm.snapshots.find(({ moref, name }) => moref === snapshot || name === snapshot);
  const disk = taken?.disks.find(({ key }) => key === diskKey);
  if (!taken || !disk) {
    throw new SendenseError(
      'not_found',
      `${vm.name} has no snapshot ${snapshot} with a disk ${diskKey}; those of removed snapshots are kept only with --keep-frozen`,
    );
  }
  const layers = layersOf(vm, disk.fileName);
  return frozenImage(context, `${vm.moref}-${diskKey}-${taken.moref}`, layers, disk.sizeBytes);
}

/** Made once: what is frozen does not change. */
async function frozenImage(
  context: LabContext,
  name: string,
  layers: readonly string[],
  sizeBytes: number,
): Promise<string> {
  const path = imagePath(context, name);
  try {
    await access(path);
    return path;
  } catch {
    return makeImage(context, name, layers, sizeBytes);
  }
}

async function makeImage(
  context: LabContext,
  name: string,
  layers: readonly string[],
  sizeBytes: number,
): Promise<string> {
  const path = imagePath(context, name);
  await mkdir(join(context.directory, 'images'), { recursive: true });
  await using file = await open(`${path}.partial`, 'w');
  await file.truncate(sizeBytes);
  const chain = context.layers.chain(layers, sizeBytes);
  await chain.copyInto({
    write: (offset, data) => {
      writeSync(file.fd, data, 0, data.length, offset);
    },
    zero: async () => {},
  });
  await rename(`${path}.partial`, path);
  return path;
}

function imagePath(context: LabContext, name: string): string {
  return join(context.directory, 'images', `${name}.raw`);
}
