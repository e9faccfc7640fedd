import { describe, expect, it } from '@jest/globals';
import {
  giveBackMemory,
  isPassedOn,
  memoryOf,
  passOnMemory,
  takeMemory,
  takeRoomyMemory,
  TRANSFER_BYTES,
  TRANSFER_ROOM_BYTES,
  widen,
} from './transfer-memory.js';

describe('memory for data on its way', () => {
  it('is given out again only after it was given back, and only once', () => {
    const first = takeMemory(100_000);
    const second = takeMemory(100_000);
    expect(second.buffer).not.toBe(first.buffer);
    giveBackMemory(first);
    giveBackMemory(first);
    const third = takeMemory(50_000);
    const fourth = takeMemory(50_000);
    expect(third.buffer).toBe(first.buffer);
    expect(fourth.buffer).not.toBe(first.buffer);
    expect(fourth.buffer).not.toBe(second.buffer);
  });

  it('is passed on until it is given back', () => {
    const memory = takeRoomyMemory(100);
    expect(isPassedOn(memory)).toBe(false);
    passOnMemory(memory.subarray(10));
    expect(isPassedOn(memory)).toBe(true);
    giveBackMemory(memory);
    expect(isPassedOn(memory)).toBe(false);
    const again = takeRoomyMemory(100);
    expect(again.buffer).toBe(memory.buffer);
    expect(isPassedOn(again)).toBe(false);
  });

  it('has room around the data, and no more than that', () => {
    const memory = takeRoomyMemory(TRANSFER_BYTES);
    const wide = widen(memory, TRANSFER_ROOM_BYTES, TRANSFER_ROOM_BYTES);
    expect(wide?.length).toBe(TRANSFER_BYTES + 2 * TRANSFER_ROOM_BYTES);
    expect(wide?.subarray(TRANSFER_ROOM_BYTES, -TRANSFER_ROOM_BYTES).byteOffset).toBe(memory.byteOffset);
    expect(widen(memory, TRANSFER_ROOM_BYTES + 1, 0)).toBeUndefined();
    expect(widen(memory, 0, TRANSFER_ROOM_BYTES + 1)).toBeUndefined();
    expect(widen(memory.subarray(5, 10), 10, 10)?.length).toBe(25);
    giveBackMemory(memory);
    expect(widen(memory, 1, 1)).toBeUndefined();
  });

  it('that is of somebody else is left alone', () => {
    const other = Buffer.alloc(100);
    passOnMemory(other);
    giveBackMemory(other);
    expect(isPassedOn(other)).toBe(false);
    expect(memoryOf(other)).toBeUndefined();
    expect(widen(other.subarray(50, 60), 1, 1)).toBeUndefined();
  });
});
