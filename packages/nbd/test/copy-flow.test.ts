import { describe, expect, it } from '@jest/globals';
import { silentLogger as log } from '@sendense/runtime';
import { eventually } from '@sendense/runtime/testing';
import { BufferPool, copyDisk, RateLimit } from '../src/index.js';
import { copy, KIB, MIB, whole } from './copying.js';
import { FakeServer, FLAGS, type FakeRequest } from './fake-server.js';

const BLOCK = 64 * KIB;
const COMMANDS = { read: 0, write: 1, flush: 3, trim: 4, writeZeroes: 6 };
const count = (server: FakeServer, command: number) =>
  server.requests.filter((request) => request.command === command).length;

describe('the requests of a copy', () => {
  it('ask for at most 2 MiB, whatever the buffers hold', async () => {
    const sizeBytes = 16 * MIB;
    await using from = await FakeServer.start({ sizeBytes });
    await using to = await FakeServer.start({ sizeBytes });
    from.memory.fill(1);
    await using source = await from.connect();
    await using target = await to.connect();
    const buffers = new BufferPool({ bufferBytes: 8 * MIB, count: 4 });
    await copy({ source, targets: [target], extents: whole(sizeBytes), sizeBytes, buffers });
    expect(from.requests.map((request) => request.length)).toEqual(Array(8).fill(2 * MIB));
    expect(to.memory.equals(from.memory)).toBe(true);
  });

  it('are whole sectors, but for the end of an export that is none', async () => {
    for (const [sizeBytes, exportBytes, expected] of [
      [1000, 1000, 1000],
      [1000, 1024, 1024],
      [BLOCK + 1, BLOCK + 512, BLOCK + 512],
    ] as const) {
      await using from = await FakeServer.start({ sizeBytes: exportBytes });
      await using to = await FakeServer.start({ sizeBytes: exportBytes });
      from.memory.fill(7);
      await using source = await from.connect();
      await using target = await to.connect();
      await copy({ source, targets: [target], extents: [{ offset: sizeBytes - 1, length: 1 }], sizeBytes });
      const { offset, length } = from.requests[0]!;
      expect(offset + length).toBe(expected);
      const written = to.requests.filter((request) => request.command === COMMANDS.write);
      expect(written.at(-1)!.offset + written.at(-1)!.length).toBe(sizeBytes);
    }
  });

  it('are spread over the connections, and each connection is flushed, last', async () => {
    const sizeBytes = 4 * MIB;
    await using from = await FakeServer.start({ sizeBytes });
    await using to = await FakeServer.start({ sizeBytes });
    from.memory.fill(1);
    await using source = await from.connect();
    const targets = await Promise.all(Array.from({ length: 4 }, async () => to.connect()));
    const buffers = new BufferPool({ bufferBytes: BLOCK, count: 16 });
    await copy({ source, targets, extents: whole(sizeBytes), sizeBytes, buffers });
    for (let connection = 0; connection < 4; connection++) {
      const commands = to.requests
        .filter((request) => request.connection === connection)
        .map((r) => r.command);
      expect(commands.length).toBeGreaterThan(4);
      expect(commands.filter((command) => command === COMMANDS.flush).length).toBe(1);
      expect(commands.at(-1)).toBe(COMMANDS.flush);
    }
    expect(to.requests.slice(-4).map((request) => request.command)).toEqual(Array(4).fill(COMMANDS.flush));
    for (const target of targets) await target[Symbol.asyncDispose]();
  });

  it('go through one connection where the server does not keep several consistent', async () => {
    const sizeBytes = MIB;
    await using from = await FakeServer.start({ sizeBytes });
    await using to = await FakeServer.start({
      sizeBytes,
      transmissionFlags: 1 | FLAGS.flush | FLAGS.writeZeroes,
    });
    from.memory.fill(1);
    await using source = await from.connect();
    await using first = await to.connect();
    await using second = await to.connect();
    await copy({ source, targets: [first, second], extents: whole(sizeBytes), sizeBytes });
    expect(new Set(to.requests.map((request) => request.connection)).size).toBe(1);
    expect(to.memory.equals(from.memory)).toBe(true);
  });

  it('never trim, and write zeros only where something lies beneath', async () => {
    const sizeBytes = 2 * MIB;
    for (const targetHasBacking of [true, false]) {
      await using from = await FakeServer.start({ sizeBytes });
      await using to = await FakeServer.start({ sizeBytes });
      from.memory.fill(1, MIB, MIB + 100);
      await using source = await from.connect();
      await using target = await to.connect();
      const result = await copy({
        source,
        targets: [target],
        extents: whole(sizeBytes),
        sizeBytes,
        targetHasBacking,
      });
      expect(count(to, COMMANDS.trim)).toBe(0);
      expect(count(to, COMMANDS.writeZeroes) > 0).toBe(targetHasBacking);
      expect(result).toMatchObject({ bytesWritten: BLOCK, bytesZeroed: sizeBytes - BLOCK });
    }
  });
});

describe('memory', () => {
  it('is never more than the pool, however slow the target is, with several disks at a time', async () => {
    const sizeBytes = 4 * MIB;
    const buffers = new BufferPool({ bufferBytes: BLOCK, count: 5 });
    const held: (() => void)[] = [];
    let most = 0;
    const disk = async () => {
      const from = await FakeServer.start({ sizeBytes });
      const to: FakeServer = await FakeServer.start({
        sizeBytes,
        onRequest: (request: FakeRequest, socket) => {
          // Answers nothing until the whole pool is waiting for answers, then everything.
          held.push(() => socket.write(to.answer(request)));
          most = Math.max(most, buffers.inUse);
          if (request.command === COMMANDS.flush || held.length >= 5)
            for (const answer of held.splice(0)) answer();
        },
      });
      from.memory.fill(1);
      const [source, target] = [await from.connect(), await to.connect()];
      return { from, to, source, target };
    };
    const disks = await Promise.all([disk(), disk(), disk()]);
    const copies = disks.map(async ({ source, target }) =>
      copyDisk({
        source,
        targets: [target],
        extents: whole(sizeBytes),
        sizeBytes,
        targetHasBacking: false,
        buffers,
        signal: new AbortController().signal,
        log,
      }),
    );
    // The last writes are fewer than a pool: let them go when nothing else moves.
    const drain = setInterval(() => held.splice(0).forEach((answer) => answer()), 20);
    await Promise.all(copies);
    clearInterval(drain);
    expect(most).toBe(5);
    expect(buffers.inUse).toBe(0);
    for (const { from, to, source, target } of disks) {
      expect(to.memory.equals(from.memory)).toBe(true);
      await source[Symbol.asyncDispose]();
      await target[Symbol.asyncDispose]();
      await from[Symbol.asyncDispose]();
      await to[Symbol.asyncDispose]();
    }
  });
});

describe('the rate limit of a copy', () => {
  it('is asked for every byte before it is read', async () => {
    const sizeBytes = MIB + 100;
    await using from = await FakeServer.start({ sizeBytes });
    await using to = await FakeServer.start({ sizeBytes });
    await using source = await from.connect();
    await using target = await to.connect();
    // Time stands still until the test lets a wait end.
    const waits: (() => void)[] = [];
    const rateLimit = new RateLimit(BLOCK, {
      now: () => 0,
      wait: async () => new Promise((resolve) => waits.push(resolve)),
    });
    const buffers = new BufferPool({ bufferBytes: BLOCK, count: 4 });
    const copying = copy({
      source,
      targets: [target],
      extents: whole(sizeBytes),
      sizeBytes,
      buffers,
      rateLimit,
    });
    let granted = 1; // the first does not wait
    while (granted < 17) {
      await eventually('somebody waits', () => waits.length > 0);
      await eventually('what was granted was read', () => from.requests.length === granted);
      waits.shift()?.();
      granted++;
    }
    const result = await copying;
    expect(result.bytesRead).toBe(sizeBytes);
    expect(from.requests.length).toBe(17);
    expect(waits).toEqual([]);
  });
});
