/**
 * Memory for data on its way through this process, in pieces that are used again as soon as nobody needs one any more. A process
 * has one such store.
 *
 * A Buffer for every piece costs more than its encryption, at some thousand pieces a second: V8 sees tens of megabytes hang
 * on small objects, and marks its whole heap again and again. And memory that comes back soon is still in the CPU's cache.
 *
 * Whoever takes memory owns it, and gives it back or passes it on with what is written to a stream that takes memory. There
 * is room before and behind the data, so that heads and tails are put around it where it lies. What nobody gives back is
 * garbage like any other.
 */

/** The most data that one piece holds. */
export const TRANSFER_BYTES = 2 << 20;
/** What may be put before and behind the data, each. */
export const TRANSFER_ROOM_BYTES = 128;
const ROOMS_BYTES = 2 * TRANSFER_ROOM_BYTES;

/** Smaller pieces are not worth it. */
const MIN_BYTES = 16 << 10;

/** Pieces of one size. */
interface Shelf {
  readonly dataBytes: number;
  /** How many are kept for the next ones. */
  readonly kept: number;
  readonly free: Buffer[];
}

/** Where little changed, and between zeros, data comes in small parts: these would take up 2 MiB each. 28 MiB are kept at most. */
const SMALL: Shelf = { dataBytes: 256 << 10, kept: 48, free: [] };
const LARGE: Shelf = { dataBytes: TRANSFER_BYTES, kept: 8, free: [] };

interface Memory {
  readonly bytes: Buffer;
  passedOn: boolean;
}

/** What is in use, by its memory. */
const lent = new WeakMap<ArrayBufferLike, Memory>();

/** @returns this many bytes of a piece, from its start on; few or too many are memory of their own. With what was in it before */
export function takeMemory(bytes: number): Buffer {
  const fits = bytes >= MIN_BYTES && bytes <= TRANSFER_BYTES + ROOMS_BYTES;
  return fits ? take(bytes - ROOMS_BYTES).subarray(0, bytes) : Buffer.allocUnsafe(bytes);
}

/** @returns place for at most {@link TRANSFER_BYTES} of data, with {@link TRANSFER_ROOM_BYTES} before and behind it */
export function takeRoomyMemory(bytes: number): Buffer {
  return take(bytes).subarray(TRANSFER_ROOM_BYTES, TRANSFER_ROOM_BYTES + bytes);
}

function take(dataBytes: number): Buffer {
  const shelf = dataBytes <= SMALL.dataBytes ? SMALL : LARGE;
  const bytes = shelf.free.pop() ?? Buffer.allocUnsafeSlow(shelf.dataBytes + ROOMS_BYTES);
  lent.set(bytes.buffer, { bytes, passedOn: false });
  return bytes;
}

/** Call it when nobody reads these bytes any more; anything that is not of here is left alone. */
export function giveBackMemory(part: Uint8Array): void {
  const memory = lent.get(part.buffer);
  if (!memory) return;
  lent.delete(part.buffer);
  const { free, kept } = memory.bytes.length > SMALL.dataBytes + ROOMS_BYTES ? LARGE : SMALL;
  if (free.length < kept) free.push(memory.bytes);
}

/** @returns all the memory of what was taken, from its start; undefined where it is none of here */
export function memoryOf(part: Uint8Array): Buffer | undefined {
  return lent.get(part.buffer)?.bytes;
}

/** @returns the part of a piece that is so much longer; undefined where that is more than there is, or it is none of here */
export function widen(part: Uint8Array, before: number, behind: number): Buffer | undefined {
  const memory = memoryOf(part);
  if (!memory) return undefined;
  const start = part.byteOffset - memory.byteOffset - before;
  const end = part.byteOffset - memory.byteOffset + part.length + behind;
  return start < 0 || end > memory.length ? undefined : memory.subarray(start, end);
}

/**
 * A stream that becomes the owner of memory that is passed on with what is written to it: it may change all of it, what lies
 * around the data too, and gives it back.
 */
export interface TakesMemory {
  readonly takesMemory: true;
}

export function takesMemory(stream: object): stream is TakesMemory {
  return 'takesMemory' in stream && stream.takesMemory === true;
}

/** Call it just before the data, the only use of its memory, is written to a stream that takes memory. */
export function passOnMemory(data: Uint8Array): void {
  const memory = lent.get(data.buffer);
  if (memory) memory.passedOn = true;
}

export function isPassedOn(data: Uint8Array): boolean {
  return lent.get(data.buffer)?.passedOn ?? false;
}
