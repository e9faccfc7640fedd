import { describe, expect, it } from '@jest/globals';
import { SendenseError } from '@sendense/core';
import { inParallel } from './in-parallel.js';

const never = new AbortController().signal;

describe('several disks at a time', () => {
  it('runs no more than the limit, and answers in the order asked', async () => {
    let running = 0;
    let most = 0;
    const results = await inParallel([3, 1, 2, 5, 4], 2, never, async (item) => {
      most = Math.max(most, ++running);
      for (let turn = 0; turn < item; turn++) await Promise.resolve();
      running--;
      return item * 10;
    });
    expect(results).toEqual([30, 10, 20, 50, 40]);
    expect(most).toBe(2);
  });

  it('throws the first failure, once the others have been stopped and have ended', async () => {
    const ended: number[] = [];
    const failing = inParallel([1, 2, 3, 4], 3, never, async (item, signal) => {
      if (item === 2) throw new SendenseError('nbdkit_died', 'the first cause');
      await new Promise((resolve) => signal.addEventListener('abort', resolve));
      ended.push(item);
      throw new SendenseError('cancelled', 'an effect');
    });
    await expect(failing).rejects.toMatchObject({ code: 'nbdkit_died' });
    expect(ended).toEqual([1, 3]);
  });

  it('starts nothing more once it is stopped', async () => {
    const stop = new AbortController();
    const started: number[] = [];
    const running = inParallel([1, 2, 3], 1, stop.signal, async (item) => {
      started.push(item);
      stop.abort(new SendenseError('cancelled', 'cancelled: enough'));
    });
    await expect(running).rejects.toMatchObject({ message: 'cancelled: enough' });
    expect(started).toEqual([1]);
  });
});
