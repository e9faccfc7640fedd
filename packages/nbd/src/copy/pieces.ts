import {
  alignExtents,
  clipExtents,
  mergeExtents,
  splitExtents,
  totalLength,
  type Extent,
} from '@sendense/core';
import { HASH_BLOCK_BYTES } from '../hashes/format.js';

/**
 * No piece is larger: VDDK reads over 2 MiB through vCenter end in "NFC error 5". It is also the quickest size: what each
 * piece costs counts for more than that it does not fit into the CPU's cache (decision 15).
 */
export const MAX_PIECE_BYTES = 2 * 1024 * 1024;

/** What is read at once: whole blocks, because hashes are of whole blocks (the last block of a disk may be short). */
export interface Piece extends Extent {
  /** 0, 1, 2, … in ascending order of offsets. */
  readonly sequence: number;
  /** What of it may be written: ascending, disjoint, not empty. */
  readonly writes: readonly Extent[];
}

/** How many bytes copying these extents reads. */
export function bytesToRead(extents: readonly Extent[], sizeBytes: number): number {
  return totalLength(alignExtents(extents, HASH_BLOCK_BYTES, sizeBytes));
}

/**
 * Cuts a list of extents into pieces, lazily. Every block that an extent touches belongs to exactly one piece; blocks that
 * none touches belong to none.
 *
 * @param exactly write the extents and nothing else; otherwise whole blocks
 */
export function* cutPieces(
  extents: readonly Extent[],
  { sizeBytes, pieceBytes, exactly }: { sizeBytes: number; pieceBytes: number; exactly: boolean },
): Generator<Piece> {
  const wanted = clipExtents(mergeExtents(extents), sizeBytes);
  let sequence = 0;
  let next = 0;
  const wantedBefore = (end: number, start: number): Extent[] => {
    const parts: Extent[] = [];
    for (let extent = wanted[next]; extent && extent.offset < end; extent = wanted[next]) {
      const from = Math.max(extent.offset, start);
      const extentEnd = extent.offset + extent.length;
      parts.push({ offset: from, length: Math.min(extentEnd, end) - from });
      if (extentEnd > end) break; // it goes on in the next piece
      next++;
    }
    return parts;
  };
  for (const piece of splitExtents(alignExtents(wanted, HASH_BLOCK_BYTES, sizeBytes), pieceBytes)) {
    const writes = exactly ? wantedBefore(piece.offset + piece.length, piece.offset) : [piece];
    yield { ...piece, sequence: sequence++, writes };
  }
}
