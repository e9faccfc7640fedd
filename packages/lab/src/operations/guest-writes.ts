import { createCipheriv, createHash, type Cipheriv } from 'node:crypto';
import { readSync } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { SendenseError, splitExtents, type Extent } from '@sendense/core';
import { runCommand } from '@sendense/runtime';
import type { LabContext } from '../context.js';
import type { VmState } from '../model/state.js';
import { layersOf } from '../model/vmdks.js';
import type { Chain } from '../storage/chain.js';
import type { GuestWrite } from '../types.js';
import { findDisk } from './disks.js';
import { recordChange } from './tracking.js';

const PIECE_BYTES = 1 << 20;

/**
 * Writes as the guest does: into the newest delta, seen by no snapshot that exists, recorded by changed block tracking.
 * Large writes go in pieces, so that a snapshot may fall between them, as it may in reality.
 *
 * @throws `invalid_argument` when it reaches beyond the end of the disk
 */
export async function guestWrite(
  context: LabContext,
  vm: VmState,
  diskKey: number,
  write: GuestWrite,
): Promise<void> {
  if ('data' in write) {
    const { data, offset } = write;
    await writePieces(context, vm, diskKey, [{ offset, length: data.length }], (piece) =>
      data.subarray(piece.offset - offset, piece.offset - offset + piece.length),
    );
  } else if ('zeros' in write) {
    await writeZeros(context, vm, diskKey, { offset: write.offset, length: write.zeros });
  } else if ('random' in write) {
    const stream = keyStream(write.random);
    const extent = { offset: write.offset, length: write.length };
    await writePieces(context, vm, diskKey, [extent], ({ length }) => stream.update(Buffer.alloc(length)));
  } else {
    await writeFile(context, vm, diskKey, write);
  }
}

/** Bytes that no compressor makes smaller, the same ones for the same seed. */
function keyStream(seed: string): Cipheriv {
  const key = createHash('sha256').update(seed).digest();
  return createCipheriv('aes-128-ctr', key.subarray(0, 16), key.subarray(16));
}

async function writePieces(
  context: LabContext,
  vm: VmState,
  diskKey: number,
  extents: readonly Extent[],
  content: (piece: Extent) => Uint8Array,
): Promise<void> {
  for (const extent of extents) checkExtent(vm, diskKey, extent);
  for (const piece of splitExtents(extents, PIECE_BYTES)) {
    const data = content(piece);
    await context.locks.run(vm, async () => {
      const chain = writableChain(context, vm, diskKey, piece);
      chain.write(piece.offset, data);
    });
    await nextTurn();
  }
}

/** What the disk consists of at this moment, once the change is recorded. The caller holds the VM's lock. */
function writableChain(context: LabContext, vm: VmState, diskKey: number, extent: Extent): Chain {
  const disk = findDisk(vm, diskKey);
  recordChange(context, disk, extent);
  return context.layers.chain(layersOf(vm, disk.fileName), disk.sizeBytes);
}

async function writeZeros(context: LabContext, vm: VmState, diskKey: number, extent: Extent): Promise<void> {
  checkExtent(vm, diskKey, extent);
  await context.locks.run(vm, async () => {
    const chain = writableChain(context, vm, diskKey, extent);
    await chain.zero(extent.offset, extent.length);
  });
}

async function writeFile(
  context: LabContext,
  vm: VmState,
  diskKey: number,
  write: { readonly offset: number; readonly fromFile: string; readonly sparse?: boolean },
): Promise<void> {
  const { offset, fromFile, sparse = true } = write;
  const { size } = await stat(fromFile);
  checkExtent(vm, diskKey, { offset, length: size });
  const { data, holes } = await fileExtents(fromFile, size);
  await using file = await open(fromFile, 'r');
  const shifted = data.map((extent) => ({ offset: extent.offset + offset, length: extent.length }));
  await writePieces(context, vm, diskKey, shifted, (piece) => {
    const content = Buffer.alloc(piece.length);
    readSync(file.fd, content, 0, piece.length, piece.offset - offset);
    return content;
  });
  if (sparse) return;
  for (const hole of holes)
    await writeZeros(context, vm, diskKey, { offset: hole.offset + offset, length: hole.length });
}

/** Node cannot ask a file for its holes (SEEK_HOLE); qemu-img can. */
async function fileExtents(path: string, sizeBytes: number): Promise<{ data: Extent[]; holes: Extent[] }> {
  if (sizeBytes === 0) return { data: [], holes: [] };
  const { stdout } = await runCommand('qemu-img', ['map', '--output=json', '-f', 'raw', path], {
    code: 'qemu_img_failed',
    what: `finding the holes of ${path}`,
    missingHint: 'install qemu-utils',
  });
  const data: Extent[] = [];
  const holes: Extent[] = [];
  for (const entry of JSON.parse(stdout) as { start: number; length: number; data: boolean }[]) {
    // qemu counts in sectors: the last one of an odd file ends beyond it.
    const length = Math.min(entry.length, sizeBytes - entry.start);
    if (length > 0) (entry.data ? data : holes).push({ offset: entry.start, length });
  }
  return { data, holes };
}

function checkExtent(vm: VmState, diskKey: number, { offset, length }: Extent): void {
  const disk = findDisk(vm, diskKey);
  if (!Number.isSafeInteger(offset) || !Number.isSafeInteger(length) || offset < 0 || length < 0) {
    throw new SendenseError(
      'invalid_argument',
      `offset and length must be whole numbers from 0 up: ${offset}, ${length}`,
    );
  }
  if (offset + length > disk.sizeBytes) {
    throw new SendenseError(
      'invalid_argument',
      `${length} bytes at ${offset} do not fit into disk ${disk.key} of ${vm.name}, which has ${disk.sizeBytes}`,
    );
  }
}
