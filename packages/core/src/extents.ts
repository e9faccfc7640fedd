import { SendenseError } from './errors.js';

/** A range of bytes of a disk. Both are non-negative safe integers. */
export interface Extent {
  readonly offset: number;
  readonly length: number;
}

/** Checks that a bigint from the wire is a safe non-negative integer: the largest disk we can address is 8 PiB. */
export function safeOffset(value: bigint, what: string): number {
  if (value < 0n || value > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw new SendenseError('invalid_argument', `${what} is out of range: ${value}`);
  }
  return Number(value);
}

export function totalLength(extents: readonly Extent[]): number {
  return extents.reduce((sum, extent) => sum + extent.length, 0);
}

/**
 * Sorts, drops empty ones, and joins extents that overlap or touch (or lie within `gap` bytes of each other).
 * The result is ascending and disjoint.
 */
export function mergeExtents(extents: readonly Extent[], gap = 0): Extent[] {
  const sorted = extents.filter((extent) => extent.length > 0).sort((a, b) => a.offset - b.offset);
  const merged: { offset: number; length: number }[] = [];
  for (const { offset, length } of sorted) {
    const last = merged.at(-1);
    if (last && offset <= last.offset + last.length + gap) {
      last.length = Math.max(last.length, offset + length - last.offset);
    } else {
      merged.push({ offset, length });
    }
  }
  return merged;
}

/** Grows every extent to multiples of `block`, cuts it at `size`, and merges the result. */
export function alignExtents(extents: readonly Extent[], block: number, size: number): Extent[] {
  return mergeExtents(
    extents.flatMap(({ offset, length }) => {
      if (length === 0 || offset >= size) return [];
      const start = offset - (offset % block);
      const end = Math.min(Math.ceil((offset + length) / block) * block, size);
      return [{ offset: start, length: end - start }];
    }),
  );
}

/** The parts of `extents` (ascending, disjoint) that lie inside [0, size). */
export function clipExtents(extents: readonly Extent[], size: number): Extent[] {
  return extents.flatMap(({ offset, length }) => {
    const end = Math.min(offset + length, size);
    return offset < end ? [{ offset, length: end - offset }] : [];
  });
}

/** Cuts one extent after another into pieces that end on multiples of `pieceSize`, lazily. */
export function* splitExtents(extents: Iterable<Extent>, pieceSize: number): Generator<Extent> {
  for (const { offset, length } of extents) {
    const end = offset + length;
    for (let start = offset; start < end;) {
      const next = Math.min(end, start - (start % pieceSize) + pieceSize);
      yield { offset: start, length: next - start };
      start = next;
    }
  }
}
