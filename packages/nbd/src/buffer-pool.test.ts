import { describe, expect, it } from '@jest/globals';
import { SendenseError } from '@sendense/core';
import { BufferPool } from './index.js';

describe('the buffer pool', () => {
  it('never lends more buffers than it has, and serves in the order of asking', async () => {
    const pool = new BufferPool({ bufferBytes: 16, count: 2 });
    const first = await pool.acquire();
    const second = await pool.acquire();
    const served: string[] = [];
    const serve = async (who: string) => {
      const loan = await pool.acquire();
      served.push(who);
      return loan;
    };
    const third = serve('third');
    const fourth = serve('fourth');
    expect(pool.inUse).toBe(2);
    const { buffer } = first;
    first[Symbol.dispose]();
    const reused = await third;
    expect(reused.buffer).toBe(buffer);
    expect(served).toEqual(['third']);
    expect(pool.inUse).toBe(2);
    second[Symbol.dispose]();
    reused[Symbol.dispose]();
    (await fourth)[Symbol.dispose]();
    expect(served).toEqual(['third', 'fourth']);
    expect(pool.inUse).toBe(0);
  });

  it('takes a buffer back once, however often it is returned', async () => {
    const pool = new BufferPool({ bufferBytes: 16, count: 2 });
    const loan = await pool.acquire();
    loan[Symbol.dispose]();
    loan[Symbol.dispose]();
    const [a, b] = [await pool.acquire(), await pool.acquire()];
    expect(a.buffer).not.toBe(b.buffer);
  });

  it('gives up waiting with the reason of the signal, and loses no buffer', async () => {
    const pool = new BufferPool({ bufferBytes: 16, count: 1 });
    const loan = await pool.acquire();
    const controller = new AbortController();
    const waiting = pool.acquire(controller.signal);
    controller.abort(new SendenseError('shutting_down', 'enough'));
    await expect(waiting).rejects.toMatchObject({ code: 'shutting_down' });
    await expect(pool.acquire(controller.signal)).rejects.toMatchObject({ code: 'shutting_down' });
    loan[Symbol.dispose]();
    expect(pool.inUse).toBe(0);
    expect((await pool.acquire()).buffer.length).toBe(16);
  });

  it.each([
    [0, 1],
    [1, 0],
    [1.5, 1],
    [Number.NaN, 1],
  ])('refuses %p bytes in %p buffers', (bufferBytes, count) => {
    expect(() => new BufferPool({ bufferBytes, count })).toThrow(
      expect.objectContaining({ code: 'invalid_argument' }),
    );
  });
});
