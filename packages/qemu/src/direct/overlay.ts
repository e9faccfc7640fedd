import type { LayerExtent } from './l2-table.js';

/** Neighbouring bytes of a disk and where they are read from. */
export type ChainExtent =
  | { readonly kind: 'zero' | 'qemu'; readonly offset: number; readonly length: number }
  | {
      readonly kind: 'data';
      readonly offset: number;
      readonly length: number;
      /** Which image: 0 is the newest. */
      readonly layer: number;
      readonly fileOffset: number;
    };

/** What one image holds of a stretch of the disk. */
export interface LayerPart {
  /** Of the image: beyond it the disk reads as zeros, whatever the images beneath hold there. */
  readonly sizeBytes: number;
  /** Ascending, disjoint. */
  readonly extents: readonly LayerExtent[];
}

interface Range {
  readonly from: number;
  readonly to: number;
}

/**
 * Lays images over each other: of each byte the newest image that holds it counts, and what none holds is zeros.
 *
 * @param layers the newest first
 * @returns all of `[from, to)`, ascending, without gaps
 */
export function layOver(layers: readonly LayerPart[], from: number, to: number): ChainExtent[] {
  const found: ChainExtent[] = [];
  let open: Range[] = [{ from, to }];
  for (const [index, { sizeBytes, extents }] of layers.entries()) {
    if (open.length === 0) break;
    const left: Range[] = [];
    let next = 0;
    for (const range of open) {
      const end = Math.min(range.to, sizeBytes);
      let at = range.from;
      while (at < end) {
        let extent = extents[next];
        while (extent && extent.offset + extent.length <= at) extent = extents[++next];
        if (!extent || extent.offset >= end) {
          left.push({ from: at, to: end });
          break;
        }
        if (extent.offset > at) left.push({ from: at, to: extent.offset });
        const begin = Math.max(at, extent.offset);
        at = Math.min(end, extent.offset + extent.length);
        found.push(part(extent, index, begin, at - begin));
      }
    }
    open = left;
  }
  found.sort((a, b) => a.offset - b.offset);
  return withZeros(found, from, to);
}

function part(extent: LayerExtent, layer: number, offset: number, length: number): ChainExtent {
  if (extent.kind !== 'data') return { kind: extent.kind, offset, length };
  return { kind: 'data', offset, length, layer, fileOffset: extent.fileOffset + offset - extent.offset };
}

function withZeros(found: readonly ChainExtent[], from: number, to: number): ChainExtent[] {
  const all: ChainExtent[] = [];
  let at = from;
  const zeros = (end: number) => {
    if (at < end) all.push({ kind: 'zero', offset: at, length: end - at });
  };
  for (const extent of found) {
    zeros(extent.offset);
    all.push(extent);
    at = extent.offset + extent.length;
  }
  zeros(to);
  return all;
}
