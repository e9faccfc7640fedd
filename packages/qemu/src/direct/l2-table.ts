/** Neighbouring bytes of a disk that one image holds. */
export type LayerExtent =
  | { readonly kind: 'zero'; readonly offset: number; readonly length: number }
  | {
      readonly kind: 'data';
      readonly offset: number;
      readonly length: number;
      /** Where they begin in the image file. */
      readonly fileOffset: number;
    }
  /** Only qemu can tell: compressed, or not as it should be. */
  | { readonly kind: 'qemu'; readonly offset: number; readonly length: number };

/** An extent under construction. */
export type Growing = { -readonly [K in 'offset' | 'length' | 'kind']: LayerExtent[K] } & {
  fileOffset: number;
};

const COMPRESSED = 0x4000_0000;
/** Bits 56 to 61 of an entry. */
const RESERVED_HIGH = 0x3f00_0000;
const OFFSET_HIGH = 0x00ff_ffff;
/** Bits 1 to 8. */
const RESERVED_LOW = 0x0000_01fe;
const ZERO = 1;

/**
 * What one entry of an L2 table says of its cluster: -1 nothing is held here, -2 zeros, -3 only qemu can tell, otherwise the
 * offset in the file. Whatever is not exactly as the format wants it is left to qemu, which knows what to do about it.
 */
export function clusterPlace(high: number, low: number, version: 2 | 3, clusterBytes: number): number {
  if (high === 0 && low === 0) return -1;
  if ((high & (COMPRESSED | RESERVED_HIGH)) !== 0 || (low & RESERVED_LOW) !== 0) return -3;
  const offset = (high & OFFSET_HIGH) * 2 ** 32 + ((low & ~0x1ff) >>> 0);
  if (offset % clusterBytes !== 0 || !Number.isSafeInteger(offset)) return -3;
  if ((low & ZERO) !== 0) return version === 3 ? -2 : -3;
  return offset === 0 ? -3 : offset;
}

const KINDS = { '-2': 'zero', '-3': 'qemu' } as const;

/** Collects neighbouring clusters of one kind into extents. */
export class ExtentCollector {
  readonly #extents: Growing[] = [];

  /** @param place see {@link clusterPlace}; offsets ascend from call to call */
  add(place: number, offset: number, length: number): void {
    if (place === -1) return;
    const kind = place >= 0 ? 'data' : KINDS[place === -2 ? '-2' : '-3'];
    const last = this.#extents.at(-1);
    if (
      last?.kind === kind &&
      last.offset + last.length === offset &&
      (kind !== 'data' || last.fileOffset + last.length === place)
    )
      last.length += length;
    else this.#extents.push({ kind, offset, length, fileOffset: place });
  }

  get extents(): readonly LayerExtent[] {
    return this.#extents;
  }
}
