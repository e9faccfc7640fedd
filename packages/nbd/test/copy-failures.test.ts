import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from '@jest/globals';
import { errorCode, SendenseError } from '@sendense/core';
import type { Logger } from '@sendense/runtime';
import { eventually, requires } from '@sendense/runtime/testing';
import { BlockHashWriter, BufferPool, RateLimit } from '../src/index.js';
import { Bench, copy, KIB, MIB, patchyDisk, sameContent, whole } from './copying.js';
import { nbdkit } from './servers.js';

const describeWith = requires(describe, 'nbdkit', 'qemu-nbd', 'qemu-img');
const SIZE = 8 * MIB;

/** A logger that tells the test of warnings. */
function listening(warned: (message: string) => void): Logger {
  const log = { warn: (_context: unknown, message: string) => warned(message), debug: () => undefined };
  return log as unknown as Logger;
}

describeWith('a copy', () => {
  it('tries a failing read again, and goes on when it succeeds', async () => {
    await using bench = new Bench();
    const trigger = bench.path('fail');
    const image = bench.raw(patchyDisk(SIZE));
    const source = await bench.source(
      image,
      '--filter=error',
      'error-pread-rate=1',
      `error-pread-file=${trigger}`,
    );
    const target = await bench.qcow2(SIZE);
    const { targets } = await bench.targets(target);
    writeFileSync(trigger, '');
    let warnings = 0;
    const log = listening((message) => {
      expect(message).toBe('read failed, trying again');
      warnings++;
      rmSync(trigger, { force: true });
    });
    const result = await copy({ source, targets, extents: whole(SIZE), sizeBytes: SIZE, log });
    expect(warnings).toBeGreaterThan(0);
    expect(result.bytesRead).toBe(SIZE);
    await bench.stop();
    expect(await sameContent(image, target)).toContain('identical');
  });

  it('gives up on a read that fails for good, and says where', async () => {
    await using bench = new Bench();
    const args = ['--filter=error', 'error-pread-rate=1'];
    const source = await bench.source(bench.raw(patchyDisk(SIZE)), ...args);
    const { targets } = await bench.targets(await bench.qcow2(SIZE));
    const buffers = new BufferPool({ bufferBytes: 256 * KIB, count: 4 });
    const extents = [{ offset: 3 * MIB, length: 4096 }];
    const warnings: string[] = [];
    const log = listening((message) => warnings.push(message));
    await expect(copy({ source, targets, extents, sizeBytes: SIZE, buffers, log })).rejects.toMatchObject({
      code: 'nbd_read_failed',
      message: expect.stringContaining('given up after 4 tries'),
      context: { offset: String(3 * MIB), tries: '4' },
    });
    expect(warnings.length).toBe(3);
    expect(buffers.inUse).toBe(0);
  });

  it('does not try again what cannot succeed', async () => {
    await using bench = new Bench();
    const args = ['--filter=error', 'error-pread=EINVAL', 'error-pread-rate=1'];
    const source = await bench.source(bench.raw(patchyDisk(SIZE)), ...args);
    const { targets } = await bench.targets(await bench.qcow2(SIZE));
    const log = listening(() => {
      throw new Error('tried again');
    });
    await expect(copy({ source, targets, extents: whole(SIZE), sizeBytes: SIZE, log })).rejects.toMatchObject(
      {
        code: 'nbd_read_failed',
        context: { error: 'EINVAL' },
      },
    );
  });

  it('fails when the target is full, with the offset', async () => {
    await using bench = new Bench();
    const source = await bench.source(bench.raw(patchyDisk(SIZE)));
    const args = ['error-pwrite=ENOSPC', 'error-pwrite-rate=1'];
    const server = bench.use(await nbdkit('--filter=error', 'memory', `size=${SIZE}`, ...args));
    const target = await bench.connect(server);
    const error = await copy({ source, targets: [target], extents: whole(SIZE), sizeBytes: SIZE }).catch(
      (caught: unknown) => caught,
    );
    expect(error).toMatchObject({ code: 'out_of_space', context: { error: 'ENOSPC' } });
    expect((error as SendenseError).context['offset']).toMatch(/^\d+$/);
  });

  it.each(['source', 'target'])(
    'fails at once when the %s is killed, and says where it was',
    async (which) => {
      await using bench = new Bench();
      const sourceServer = bench.use(
        await nbdkit('-r', '--filter=delay', 'file', bench.raw(patchyDisk(SIZE)), 'delay-read=30ms'),
      );
      const source = await bench.connect(sourceServer);
      const { server, targets } = await bench.targets(await bench.qcow2(SIZE));
      const victim = which === 'source' ? sourceServer : server;
      const buffers = new BufferPool({ bufferBytes: 64 * KIB, count: 4 });
      const hashesPath = bench.path('x.hashes');
      {
        await using hashes = await BlockHashWriter.create(hashesPath, { sizeBytes: SIZE });
        const error = await copy({
          source,
          targets,
          extents: whole(SIZE),
          sizeBytes: SIZE,
          buffers,
          hashes,
          onProgress: (done) => {
            if (done === 8 * 64 * KIB) process.kill(victim.process.pid, 'SIGKILL');
          },
        }).catch((caught: unknown) => caught);
        expect(error).toMatchObject({ code: 'nbd_connection_lost' });
        expect(Number((error as SendenseError).context['offset'])).toBeGreaterThan(0);
      }
      expect(buffers.inUse).toBe(0);
      expect(existsSync(hashesPath)).toBe(false);
    },
  );

  it.each([0, 1, 5 * 64 * KIB, SIZE])(
    'is stopped after %p bytes, promptly, with the reason',
    async (after) => {
      await using bench = new Bench();
      // Reads that would take a minute: what is under way cannot be waited for.
      const delay = after === 0 ? 'delay-read=60' : 'delay-read=1ms';
      const source = await bench.source(bench.raw(patchyDisk(SIZE)), '--filter=delay', delay);
      const { targets } = await bench.targets(await bench.qcow2(SIZE));
      const buffers = new BufferPool({ bufferBytes: 64 * KIB, count: 6 });
      const controller = new AbortController();
      const copying = copy({
        source,
        targets,
        extents: whole(SIZE),
        sizeBytes: SIZE,
        buffers,
        signal: controller.signal,
        onProgress: (done) => {
          if (after > 0 && done >= after)
            controller.abort(new SendenseError('shutting_down', 'the hub stops'));
        },
      });
      if (after === 0) {
        await eventually('reads are under way', () => source.bytesUnderWay > 0);
        controller.abort(new SendenseError('shutting_down', 'the hub stops'));
      }
      await expect(copying).rejects.toMatchObject({ code: 'shutting_down', message: 'the hub stops' });
      expect(buffers.inUse).toBe(0);
      await expect(source.read(0, 512)).rejects.toMatchObject({ code: 'shutting_down' });
    },
  );

  it('that was stopped before it began does nothing', async () => {
    await using bench = new Bench();
    const source = await bench.source(bench.raw(Buffer.alloc(MIB)));
    const { targets } = await bench.targets(await bench.qcow2(MIB));
    const options = { source, targets, extents: whole(MIB), sizeBytes: MIB };
    await expect(copy({ ...options, signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'cancelled',
    });
    expect((await source.read(0, 512)).length).toBe(512);
  });

  it('can be stopped while it waits for a buffer of another disk, or for its share of the rate', async () => {
    await using bench = new Bench();
    const image = bench.raw(patchyDisk(SIZE));
    const { targets } = await bench.targets(await bench.qcow2(SIZE));
    const pool = new BufferPool({ bufferBytes: 64 * KIB, count: 1 });
    using _other = await pool.acquire();
    const slow = new RateLimit(1);
    await slow.take(1_000_000);
    for (const [index, waitingFor] of [{ buffers: pool }, { rateLimit: slow }].entries()) {
      const source = await bench.source(image);
      const controller = new AbortController();
      const target = targets[index]!;
      const copying = copy({
        source,
        targets: [target],
        extents: whole(SIZE),
        sizeBytes: SIZE,
        signal: controller.signal,
        ...waitingFor,
      }).then(() => 'done', errorCode);
      controller.abort();
      expect(await copying).toBe('cancelled');
    }
    expect(pool.inUse).toBe(1);
  });

  it.each(['source', 'target'] as const)(
    'notices at once that its %s is gone, although it waits for its share of the rate',
    async (gone) => {
      await using bench = new Bench();
      const source = await nbdkit('-r', 'file', bench.raw(patchyDisk(SIZE)));
      const { server: target, targets } = await bench.targets(await bench.qcow2(SIZE));
      const rateLimit = new RateLimit(MIB);
      await rateLimit.take(3600 * MIB);
      const copying = copy({
        ...{ source: await bench.connect(source, true), targets, rateLimit },
        ...{ extents: whole(SIZE), sizeBytes: SIZE },
      }).then(() => 'done', errorCode);
      await (gone === 'source' ? source : target)[Symbol.asyncDispose]();
      expect(await copying).toBe('nbd_connection_lost');
      await source[Symbol.asyncDispose]();
    },
    20_000,
  );

  it('fails when its hashes cannot be written', async () => {
    await using bench = new Bench();
    const source = await bench.source(bench.raw(patchyDisk(SIZE)));
    const { targets } = await bench.targets(await bench.qcow2(SIZE));
    const buffers = new BufferPool({ bufferBytes: 256 * KIB, count: 4 });
    // Hashes of a disk that is smaller than this one.
    await using hashes = await BlockHashWriter.create(bench.path('x.hashes'), { sizeBytes: MIB });
    await expect(
      copy({ source, targets, extents: whole(SIZE), sizeBytes: SIZE, hashes, buffers }),
    ).rejects.toMatchObject({ code: 'invalid_argument' });
    expect(buffers.inUse).toBe(0);
  });

  it('is refused when an export is smaller than the disk, read-only, or missing', async () => {
    await using bench = new Bench();
    const source = await bench.source(bench.raw(Buffer.alloc(MIB)));
    const { targets } = await bench.targets(await bench.qcow2(MIB));
    const extents = whole(MIB);
    await expect(copy({ source, targets, extents, sizeBytes: MIB + 512 })).rejects.toMatchObject({
      code: 'disk_size_mismatch',
    });
    await expect(copy({ source, targets: [source], extents, sizeBytes: MIB })).rejects.toMatchObject({
      code: 'nbd_refused',
    });
    await expect(copy({ source, targets: [], extents, sizeBytes: MIB })).rejects.toMatchObject({
      code: 'invalid_argument',
    });
  });

  it('that fails or is stopped leaves no rejection unhandled', async () => {
    // In a process of its own, which Node ends with exit code 1 at the first unhandled rejection.
    const script = new URL('./stopped-copies.js', import.meta.url).pathname;
    const child = spawn(process.execPath, ['--unhandled-rejections=strict', script], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let output = '';
    child.stdout.on('data', (text: Buffer) => (output += text.toString()));
    child.stderr.on('data', (text: Buffer) => (output += text.toString()));
    const [exitCode] = (await once(child, 'close')) as [number];
    expect(output.trim().split('\n').at(-1)).toBe('cancelled nbd_connection_lost nbd_read_failed cancelled');
    expect(exitCode).toBe(0);
  });
});
