import { randomFillSync } from 'node:crypto';
import { describe, expect, it } from '@jest/globals';
import { pooledRandomFill } from './random-pool.js';

describe('pooled random bytes', () => {
  it('fill just what was asked for, each byte handed out once', () => {
    const given: string[] = [];
    const source = ((target: Buffer) => {
      for (let index = 0; index < target.length; index += 8) target.writeDoubleBE(Math.random(), index);
      given.push(target.toString('hex'));
      return target;
    }) as typeof randomFillSync;
    const fill = pooledRandomFill(source);
    let taken = '';
    for (let count = 0; count < 10_000; count++) {
      const packet = Buffer.alloc(40, 0xee);
      fill(packet, 20, 16);
      expect(packet.subarray(0, 20).every((byte) => byte === 0xee)).toBe(true);
      expect(packet.subarray(36).every((byte) => byte === 0xee)).toBe(true);
      taken += packet.subarray(20, 36).toString('hex');
    }
    expect(given.join('').startsWith(taken)).toBe(true);
    expect(given).toHaveLength(3);
  });

  it('leave what is large, and what is no byte array, to the source', () => {
    const fill = pooledRandomFill(randomFillSync);
    const large = fill(Buffer.alloc(100_000));
    expect(new Set(large).size).toBe(256);
    expect(fill(new Uint32Array(16)).some((value) => value > 255)).toBe(true);
  });
});
