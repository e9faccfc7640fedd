import { setImmediate as nextTurn } from 'node:timers/promises';
import { describe, expect, it } from '@jest/globals';
import { eventually } from '@sendense/runtime/testing';
import { SilenceWatch } from './silence-watch.js';

/** Blocks the whole thread, as a machine without time for it does. */
function standStill(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

/** A watch over a server that owes an answer from now on. */
function watchOver(patienceMs: number) {
  const conversation = { heardBytes: 0, waitingSince: performance.now(), patienceMs };
  const silences: number[] = [];
  const watch = new SilenceWatch(
    () => conversation,
    patienceMs,
    (silentMs) => silences.push(silentMs),
  );
  return { conversation, silences, [Symbol.dispose]: () => watch[Symbol.dispose]() };
}

describe('a watch over the silence of a server', () => {
  it('does not hold against the server that this process stood still', async () => {
    using watched = watchOver(100);
    for (let answer = 0; answer < 5; answer++) {
      standStill(150);
      // Sockets are read after the timers: only now is the answer heard, which has been there for long.
      await nextTurn();
      await nextTurn();
      watched.conversation.heardBytes += 1;
    }
    expect(watched.silences).toEqual([]);
  });

  it('tells how long the silence was', async () => {
    using watched = watchOver(40);
    await eventually('the silence is noticed', () => watched.silences.length > 0);
    expect(watched.silences[0]).toBeGreaterThanOrEqual(40);
    expect(watched.silences[0]).toBeLessThan(51);
  });

  it('begins anew with every byte', async () => {
    using watched = watchOver(100);
    for (let round = 0; round < 100; round++) {
      standStill(5);
      await nextTurn();
      watched.conversation.heardBytes += 1;
    }
    expect(watched.silences).toEqual([]);
  });
});
