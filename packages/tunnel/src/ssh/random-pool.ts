import type { randomFillSync } from 'node:crypto';

type RandomFill = typeof randomFillSync;

const POOL_BYTES = 64 << 10;
/** Larger ones are asked for on their own. */
const MAX_POOLED_BYTES = 256;

/** Random bytes of the same quality, asked for 64 KiB at a time. Each byte is handed out once and then forgotten. */
export function pooledRandomFill(fill: RandomFill): RandomFill {
  const pool = Buffer.alloc(POOL_BYTES);
  let at = POOL_BYTES;
  return ((target: NodeJS.ArrayBufferView, ...range: [offset?: number, size?: number]) => {
    const [offset = 0, size = target.byteLength - offset] = range;
    if (size > MAX_POOLED_BYTES || !(target instanceof Uint8Array)) return fill(target, ...range);
    if (at + size > POOL_BYTES) {
      fill(pool);
      at = 0;
    }
    for (let index = 0; index < size; index++) {
      target[offset + index] = pool[at] ?? 0;
      pool[at++] = 0;
    }
    return target;
  }) as RandomFill;
}
