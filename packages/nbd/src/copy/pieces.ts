import { alignExtents, totalLength, type Extent } from '@sendense/core';
import { HASH_BLOCK_BYTES } from '../hashes/format.js';

/** How much one read asks for, unless the buffers are smaller. */
export const COPY_PIECE_BYTES = 1024 * 1024;

/** VDDK reads over 2 MiB through vCenter end in "NFC error 5". */
export const MAX_PIECE_BYTES = 2 * 1024 * 1024;

/** How many bytes copying these extents reads: whole hash blocks, because hashes are of whole blocks. */
export function bytesToRead(extents: readonly Extent[], sizeBytes: number): number {
  return totalLength(alignExtents(extents, HASH_BLOCK_BYTES, sizeBytes));
}
