import { createConnection } from 'node:net';
import { describe, expect, it } from '@jest/globals';
import { errorCode, SendenseError } from '@sendense/core';
import { silentLogger as log } from '@sendense/runtime';
import { eventually } from '@sendense/runtime/testing';
import { BufferPool, copyDisk, NbdClient } from '../src/index.js';
import { FakeServer, type FakeRequest } from './fake-server.js';

const MIB = 1024 * 1024;
const READ = 0;
const FLUSH = 3;

/** A server that keeps its connection and answers only what `answers` says. */
async function silentServer(answers: (request: FakeRequest, count: number) => boolean): Promise<FakeServer> {
  let count = 0;
  const server: FakeServer = await FakeServer.start({
    sizeBytes: 8 * MIB,
    onRequest: (request, socket) => {
      if (answers(request, count++)) socket.write(server.answer(request));
    },
  });
  return server;
}

describe('a server that keeps the connection and says nothing', () => {
  it('is given up, and what was asked is told', async () => {
    await using server = await silentServer((_request, count) => count < 2);
    await using client = await server.connect({ replyTimeoutMs: 100 });
    await client.read(0, 4096);
    await client.write(8192, Buffer.alloc(4096));
    await expect(client.read(65_536, 4096)).rejects.toMatchObject({
      code: 'nbd_connection_lost',
      message: expect.stringMatching(/ended while reading 4096 bytes at offset 65536: no answer for 0\.\d s/),
      retryable: true,
      context: { offset: '65536', length: '4096' },
    });
    expect(errorCode(await client.lost)).toBe('nbd_connection_lost');
    await eventually('the client has hung up', () => server.sockets.size === 0);
  });

  it('ends a copy, whether it reads or writes', async () => {
    for (const silentOne of ['source', 'target'] as const) {
      await using source = await silentServer((_request, count) => silentOne === 'target' || count < 3);
      await using target = await silentServer((_request, count) => silentOne === 'source' || count < 3);
      source.memory.fill(1);
      // The other one is given its time, however busy the machine is.
      const patience = (one: string) => (one === silentOne ? { replyTimeoutMs: 100 } : {});
      const copy = copyDisk({
        source: await source.connect(patience('source')),
        targets: [await target.connect(patience('target'))],
        extents: [{ offset: 0, length: 8 * MIB }],
        sizeBytes: 8 * MIB,
        targetHasBacking: false,
        buffers: new BufferPool({ bufferBytes: MIB, count: 4 }),
        signal: new AbortController().signal,
        log,
      });
      await expect(copy).rejects.toMatchObject({
        code: 'nbd_connection_lost',
        message: expect.stringMatching(silentOne === 'source' ? /while reading/ : /while writing/),
      });
    }
  });

  it('may think longer about a flush', async () => {
    const flushes: (() => void)[] = [];
    await using server: FakeServer = await FakeServer.start({
      sizeBytes: MIB,
      onRequest: (request, socket) => {
        const answer = () => void socket.write(server.answer(request));
        if (request.command === FLUSH) flushes.push(answer);
        else if (request.command !== READ) answer();
      },
    });
    await using flushing = await server.connect({ replyTimeoutMs: 200 });
    await using reading = await server.connect({ replyTimeoutMs: 200 });
    const flushed = flushing.flush();
    await eventually('the flush has arrived', () => flushes.length === 1);
    // Asked after the flush, and given up before it.
    await expect(reading.read(0, 4096)).rejects.toMatchObject({ code: 'nbd_connection_lost' });
    flushes[0]?.();
    await flushed;
  });

  it('is not given up while the line still carries what lies before the question', async () => {
    await using server = await silentServer(() => false);
    let [carriedBytes, moves] = [0, true];
    const { address } = server;
    const stream = createConnection(address.kind === 'unix' ? address.path : '');
    Object.defineProperty(stream, 'carriedBytes', { get: () => (moves ? ++carriedBytes : carriedBytes) });
    await using far = await NbdClient.connect({ stream, exportName: 'disk', log, replyTimeoutMs: 50 });
    await using near = await server.connect({ replyTimeoutMs: 200 });
    let answer = 'none';
    const reading = far.read(0, 4096).catch((error: unknown) => (answer = errorCode(error)));
    await expect(near.read(0, 4096)).rejects.toMatchObject({ code: 'nbd_connection_lost' });
    expect(answer).toBe('none');
    moves = false;
    await reading;
    expect(answer).toBe('nbd_connection_lost');
  });

  it('is not given up while nothing is asked', async () => {
    await using server = await FakeServer.start({ sizeBytes: MIB });
    await using idle = await server.connect({ replyTimeoutMs: 50 });
    await idle.read(0, 4096);
    await using silent = await silentServer(() => false);
    await using asking = await silent.connect({ replyTimeoutMs: 200 });
    // Long enough for the idle one, too.
    await expect(asking.read(0, 4096)).rejects.toBeInstanceOf(SendenseError);
    expect((await idle.read(0, 4096)).length).toBe(4096);
  });
});
