/**
 * Memory for large packets, used again as soon as nobody needs a packet any more. A process has one such store.
 *
 * ssh2 makes a Buffer for every packet. At some thousand packets a second these cost more than their encryption: V8 sees
 * tens of megabytes hang on small objects, and marks its whole heap again and again.
 */

/** What a channel of ours takes in one packet. RFC 4253, section 6.1, asks for 32 KiB at least; OpenSSH takes 256 KiB. */
export const LARGE_PACKET_BYTES = 256 << 10;
/** What stands around a channel's data in a packet: length, padding, message head and tag. */
export const PACKET_OVERHEAD_BYTES = 128;
/** Smaller packets are not worth it. */
const MIN_BYTES = 16 << 10;
/** 12 MiB: what is kept for the next packets. */
const MAX_KEPT = 48;

const free: Buffer[] = [];
/** What is in use, by its memory. What nobody gives back is garbage like any other. */
const lent = new WeakMap<ArrayBufferLike, Buffer>();

/** @returns memory of this size; with what was in it before */
export function takeMemory(bytes: number): Buffer {
  if (bytes < MIN_BYTES || bytes > LARGE_PACKET_BYTES + PACKET_OVERHEAD_BYTES)
    return Buffer.allocUnsafe(bytes);
  const memory = free.pop() ?? Buffer.allocUnsafeSlow(LARGE_PACKET_BYTES + PACKET_OVERHEAD_BYTES);
  lent.set(memory.buffer, memory);
  return memory.subarray(0, bytes);
}

/** Call it when nobody reads these bytes any more; anything that is not of here is left alone. */
export function giveBackMemory(part: Uint8Array): void {
  const memory = lent.get(part.buffer);
  if (!memory) return;
  lent.delete(part.buffer);
  if (free.length < MAX_KEPT) free.push(memory);
}

/** @returns all the memory of what was taken, from its start; undefined where it is none of here */
export function memoryOf(part: Uint8Array): Buffer | undefined {
  return lent.get(part.buffer);
}

export function isReused(part: Uint8Array): boolean {
  return lent.has(part.buffer);
}
