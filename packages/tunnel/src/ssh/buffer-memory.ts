import { collectGarbage } from './garbage.js';

const COLLECT_EVERY_BYTES = 8 << 20;

let carriedBytes = 0;

/**
 * Counts bytes that came in Buffers of their own, and has the young generation collected every few megabytes of them.
 *
 * Such Buffers are garbage within milliseconds, but their JavaScript objects are so small that V8 sees no reason to collect
 * them until 64 MiB of memory hang on them, and then it marks the whole heap. Collected early, they cost a fraction of
 * that, and malloc hands out the same memory again while it still is in the CPU's cache.
 */
export function carried(bytes: number): void {
  carriedBytes += bytes;
  if (carriedBytes < COLLECT_EVERY_BYTES) return;
  carriedBytes = 0;
  collectGarbage('minor');
}
