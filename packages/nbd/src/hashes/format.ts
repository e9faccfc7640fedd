import { blake3 } from '@napi-rs/blake-hash';

/** A disk is hashed in blocks of this size, aligned to it; the last block of a disk may be shorter. */
export const HASH_BLOCK_BYTES = 65_536;

/** A block's hash is its BLAKE3 cut to this length: `b3sum --length 16`. */
export const HASH_BYTES = 16;

/** Neighbouring blocks of one kind. */
export type BlockHashRun =
  | { readonly kind: 'zero'; readonly firstBlock: number; readonly count: number }
  | {
      readonly kind: 'data';
      readonly firstBlock: number;
      readonly count: number;
      /** `count` hashes, one after another. */
      readonly hashes: Buffer;
    };

/** @returns {@link HASH_BYTES} bytes */
export function hashBlock(block: Uint8Array): Buffer {
  return blake3(block).subarray(0, HASH_BYTES);
}
