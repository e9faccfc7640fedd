import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

const COLLECT_EVERY_BYTES = 8 << 20;

type MinorCollection = (options: { readonly type: 'minor' }) => void;

let carriedBytes = 0;
let collect: MinorCollection | undefined;

/**
 * Counts bytes that went through ssh2, and has the young generation collected every few megabytes of them.
 *
 * ssh2 makes a Buffer for every packet of 32 KiB. They are garbage within milliseconds, but their JavaScript objects are so
 * small that V8 sees no reason to collect them until 64 MiB of memory hang on them, and then it marks the whole heap.
 * Collected early, they cost a fraction of that, and malloc hands out the same memory again while it still is in the
 * CPU's cache: a third less CPU for each byte, and half the memory.
 */
export function carried(bytes: number): void {
  carriedBytes += bytes;
  if (carriedBytes < COLLECT_EVERY_BYTES) return;
  carriedBytes = 0;
  collect ??= minorCollection();
  collect({ type: 'minor' });
}

/** The only way to V8's own function in a process that was not started with the flag. */
function minorCollection(): MinorCollection {
  setFlagsFromString('--expose-gc');
  const gc: unknown = runInNewContext('globalThis.gc');
  setFlagsFromString('--no-expose-gc');
  return typeof gc === 'function' ? (gc as MinorCollection) : () => undefined;
}
