import { stat } from 'node:fs/promises';
import { describe, expect, it } from '@jest/globals';
import { delay, withDeadline, withFairDeadline } from './ownership.js';

/** Keeps the event loop for a while in each of its turns. */
function keepBusy(turnMs: number): Disposable {
  let stopped = false;
  const turn = () => {
    if (stopped) return;
    for (const end = performance.now() + turnMs; performance.now() < end;);
    setImmediate(turn);
  };
  turn();
  return { [Symbol.dispose]: () => (stopped = true) };
}

/** What takes a few turns, and no time. */
async function look(): Promise<string> {
  for (let times = 0; times < 5; times++) await stat('/');
  return 'there';
}

describe('a deadline', () => {
  it('is over for what does not end', async () => {
    const never = () => new Promise<never>(() => undefined);
    const late = { code: 'timeout', message: 'waiting did not finish within 0.05 s' };
    await expect(withDeadline('waiting', 50, never)).rejects.toMatchObject(late);
    await expect(withFairDeadline('waiting', 50, never)).rejects.toMatchObject(late);
  });

  it('is not held against others by a process that is busy itself, when it is a fair one', async () => {
    using _busy = keepBusy(150);
    await expect(withDeadline('looking', 300, look)).rejects.toMatchObject({ code: 'timeout' });
    expect(await withFairDeadline('looking', 300, look)).toBe('there');
  });

  it('passes on what was done, and its failure', async () => {
    expect(await withFairDeadline('looking', 10_000, look)).toBe('there');
    const failing = async () => {
      await delay(1);
      throw new Error('broken');
    };
    await expect(withFairDeadline('looking', 10_000, failing)).rejects.toThrow('broken');
  });
});
