import { setImmediate as nextTurn } from 'node:timers/promises';
import { describe, expect, it } from '@jest/globals';
import { eventually } from '@sendense/runtime/testing';
import { SilenceWatch } from './silence-watch.js';

/** Blocks the whole thread, as a machine without time for it does. */
function standStill(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

describe('a watch over the silence of a server', () => {
  it('does not hold against the server that this process stood still', async () => {
    const conversation = { heardBytes: 0, waitingSince: performance.now(), patienceMs: 100 };
    const silences: number[] = [];
    using _watch = new SilenceWatch(
      () => conversation,
      100,
      (silentMs) => silences.push(silentMs),
    );
    for (let answer = 0; answer < 5; answer++) {
      standStill(150);
      // Sockets are read after the timers: only now is the answer heard, which has been there for long.
      await nextTurn();
      await nextTurn();
      conversation.heardBytes += 1;
    }
    expect(silences).toEqual([]);
  });

  it('tells how long the silence was', async () => {
    const conversation = { heardBytes: 0, waitingSince: performance.now(), patienceMs: 40 };
    const silences: number[] = [];
    using _watch = new SilenceWatch(
      () => conversation,
      40,
      (silentMs) => silences.push(silentMs),
    );
    await eventually('the silence is noticed', () => silences.length > 0);
    expect(silences[0]).toBeGreaterThanOrEqual(40);
    expect(silences[0]).toBeLessThan(51);
  });

  it('begins anew with every byte', async () => {
    const conversation = { heardBytes: 0, waitingSince: performance.now(), patienceMs: 100 };
    const silences: number[] = [];
    using _watch = new SilenceWatch(
      () => conversation,
      100,
      (silentMs) => silences.push(silentMs),
    );
    for (let round = 0; round < 100; round++) {
      standStill(5);
      await nextTurn();
      conversation.heardBytes += 1;
    }
    expect(silences).toEqual([]);
  });
});
