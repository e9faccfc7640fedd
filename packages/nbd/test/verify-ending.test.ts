import { describe, expect, it } from '@jest/globals';
import { SendenseError } from '@sendense/core';
import { requires } from '@sendense/runtime/testing';
import { HASH_BYTES, mergedHashes, RateLimit, type BlockHashRun } from '../src/index.js';
import { Bench, MIB, patchyDisk, whole } from './copying.js';
import { nbdkit } from './servers.js';
import { backUp, BLOCK, check, each, SIZE } from './verifying.js';

requires(
  describe,
  'nbdkit',
  'qemu-nbd',
  'qemu-img',
)('the way of a verification to its end', () => {
  it('tells how far it is, and ends with all of the disk', async () => {
    await using bench = new Bench();
    const disk = patchyDisk(SIZE);
    const point = await backUp(bench, disk, whole(SIZE));
    const { server } = await bench.targets(point.image, 0);
    const seen: number[] = [];
    await check(await bench.connect(server, true), mergedHashes(point.hashes), {
      sizeBytes: SIZE,
      onProgress: (done, total) => {
        expect(total).toBe(SIZE);
        seen.push(done);
      },
      rateLimit: new RateLimit(1024 * MIB),
    });
    expect(seen[0]).toBe(0);
    expect(seen.at(-1)).toBe(SIZE);
    expect(seen).toEqual(seen.toSorted((a, b) => a - b));
  });

  it('ends when it is cancelled, when its server dies, and when its hashes are damaged', async () => {
    await using bench = new Bench();
    const hash = Buffer.alloc(HASH_BYTES, 1);
    async function* endless(after: () => void, error?: Error): AsyncGenerator<BlockHashRun> {
      for (let firstBlock = 0; firstBlock < 100_000; firstBlock++) {
        if (firstBlock === 2000) after();
        if (firstBlock === 2000 && error) throw error;
        yield { kind: 'data', firstBlock, count: 1, hashes: hash };
      }
    }
    const start = async () => {
      const server = bench.use(await nbdkit('memory', `size=${100_000 * BLOCK}`));
      return { server, client: await bench.connect(server, true) };
    };
    const stop = new AbortController();
    const reason = new SendenseError('cancelled', 'the operator asked');
    const one = await start();
    await expect(
      check(
        one.client,
        endless(() => stop.abort(reason)),
        { signal: stop.signal },
      ),
    ).rejects.toBe(reason);
    const two = await start();
    await expect(
      check(
        two.client,
        endless(() => process.kill(two.server.process.pid, 'SIGKILL')),
      ),
    ).rejects.toMatchObject({ code: 'nbd_connection_lost' });
    const damage = new SendenseError('block_hashes_invalid', 'the checksum is wrong');
    const three = await start();
    await expect(
      check(
        three.client,
        endless(() => {}, damage),
      ),
    ).rejects.toBe(damage);
  });

  it('refuses hashes of another disk', async () => {
    await using bench = new Bench();
    const server = bench.use(await nbdkit('memory', `size=${4 * BLOCK}`));
    const wrong: BlockHashRun[][] = [
      [{ kind: 'zero', firstBlock: 3, count: 2 }],
      [
        { kind: 'zero', firstBlock: 1, count: 2 },
        { kind: 'zero', firstBlock: 2, count: 1 },
      ],
    ];
    for (const runs of wrong)
      await expect(check(await bench.connect(server), each(runs))).rejects.toMatchObject({
        code: 'block_hashes_invalid',
      });
    const client = await bench.connect(server);
    await expect(check(client, each([]), { sizeBytes: 5 * BLOCK })).rejects.toMatchObject({
      code: 'disk_size_mismatch',
    });
  });
});
