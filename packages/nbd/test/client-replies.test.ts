import { randomBytes } from 'node:crypto';
import { describe, expect, it } from '@jest/globals';
import { errorCode, SendenseError } from '@sendense/core';
import { giveBackMemory, TRANSFER_BYTES } from '@sendense/runtime';
import { eventually } from '@sendense/runtime/testing';
import type { NbdClient } from '../src/index.js';
import {
  chunk,
  dataChunk,
  FakeServer,
  simpleReply,
  u16,
  u32,
  u64,
  type FakeOptions,
  type FakeRequest,
} from './fake-server.js';

const MIB = 1024 * 1024;

/** A server that answers the first request in a given way. */
async function answering(
  reply: (request: FakeRequest) => Buffer,
  options: Partial<FakeOptions> = {},
): Promise<FakeServer> {
  return FakeServer.start({
    sizeBytes: MIB,
    ...options,
    onRequest: (request, socket) => void socket.write(reply(request)),
  });
}

describe('replies', () => {
  const read = async (server: FakeServer) => {
    await using client = await server.connect();
    await client.read(4096, 8192);
  };
  const ways: readonly ((client: NbdClient) => Promise<unknown>)[] = [
    (client) => client.read(4096, 8192),
    (client) => client.readSlices(4096, 8192, () => undefined),
  ];

  it.each<[string, (request: FakeRequest) => Buffer]>([
    ['a wrong magic number', () => Buffer.alloc(64, 1)],
    ['a wrong cookie', ({ cookie, offset }) => dataChunk(cookie + 1n, offset, Buffer.alloc(8192))],
    ['a huge cookie', ({ offset }) => dataChunk(2n ** 64n - 1n, offset, Buffer.alloc(8192))],
    ['too little data', ({ cookie, offset }) => dataChunk(cookie, offset, Buffer.alloc(4096))],
    ['too much data', ({ cookie, offset }) => dataChunk(cookie, offset, Buffer.alloc(8193))],
    ['data of 2 GiB', ({ cookie }) => chunk(cookie, 1, u64(4096), { length: 2 ** 31 })],
    ['data before the start', ({ cookie }) => dataChunk(cookie, 4095, Buffer.alloc(8192))],
    [
      'data at an absurd offset',
      ({ cookie }) => chunk(cookie, 1, Buffer.concat([u64(2n ** 64n - 1n), Buffer.alloc(8192)])),
    ],
    ['a data chunk without data', ({ cookie, offset }) => chunk(cookie, 1, u64(offset))],
    ['a data chunk shorter than its offset', ({ cookie }) => chunk(cookie, 1, Buffer.alloc(4))],
    [
      'the same data twice',
      ({ cookie, offset }) =>
        Buffer.concat([
          dataChunk(cookie, offset, Buffer.alloc(4096), { done: false }),
          dataChunk(cookie, offset, Buffer.alloc(4096)),
        ]),
    ],
    [
      'data that overlaps',
      ({ cookie, offset }) =>
        Buffer.concat([
          dataChunk(cookie, offset, Buffer.alloc(4096), { done: false }),
          dataChunk(cookie, offset + 2048, Buffer.alloc(4096)),
        ]),
    ],
    ['a hole outside', ({ cookie, offset }) => chunk(cookie, 2, Buffer.concat([u64(offset), u32(8193)]))],
    ['a hole that is too short', ({ cookie }) => chunk(cookie, 2, Buffer.alloc(11))],
    ['an empty hole', ({ cookie, offset }) => chunk(cookie, 2, Buffer.concat([u64(offset), u32(0)]))],
    ['an end without data', ({ cookie }) => chunk(cookie, 0, Buffer.alloc(0))],
    [
      'an empty chunk that is not the last',
      ({ cookie }) => chunk(cookie, 0, Buffer.alloc(0), { done: false }),
    ],
    ['an empty chunk that is not empty', ({ cookie }) => chunk(cookie, 0, Buffer.alloc(8))],
    ['a block status', ({ cookie }) => chunk(cookie, 5, Buffer.alloc(12))],
    ['a chunk of unknown type', ({ cookie }) => chunk(cookie, 99, Buffer.alloc(4))],
    ['an error chunk that is too short', ({ cookie }) => chunk(cookie, 0x8001, Buffer.alloc(5))],
    [
      'an error chunk longer than itself',
      ({ cookie }) => chunk(cookie, 0x8001, Buffer.concat([u32(5), u16(9)])),
    ],
    ['an error chunk of 1 MiB', ({ cookie }) => chunk(cookie, 0x8001, Buffer.alloc(0), { length: MIB })],
    ['an error chunk without error', ({ cookie }) => chunk(cookie, 0x8001, Buffer.concat([u32(0), u16(0)]))],
    ['an unstructured success', ({ cookie }) => simpleReply(cookie, 0, Buffer.alloc(8192))],
    [
      'a second reply',
      ({ cookie, offset }) =>
        Buffer.concat([
          dataChunk(cookie, offset, Buffer.alloc(8192)),
          dataChunk(cookie, offset, Buffer.alloc(8192)),
        ]),
    ],
  ])('of %s end the connection with a protocol error', async (_name, reply) => {
    await using server = await answering(reply);
    for (const way of ways) {
      await using client = await server.connect();
      const reading = way(client).then(() => 'read', errorCode);
      expect(await client.lost).toMatchObject({ code: 'nbd_protocol' });
      expect(['nbd_protocol', 'read']).toContain(await reading);
      await eventually('the client hung up', () => server.sockets.size === 0);
    }
  });

  it('with structure are refused where it was not agreed on', async () => {
    await using server = await answering(
      ({ cookie, offset }) => dataChunk(cookie, offset, Buffer.alloc(8192)),
      {
        structured: false,
      },
    );
    await expect(read(server)).rejects.toMatchObject({ code: 'nbd_protocol' });
  });

  it.each<[string, (request: FakeRequest) => Buffer]>([
    ['no status', ({ cookie }) => chunk(cookie, 0, Buffer.alloc(0))],
    ['an unstructured reply', ({ cookie }) => simpleReply(cookie)],
    ['another context', ({ cookie }) => chunk(cookie, 5, Buffer.concat([u32(2), u32(4096), u32(0)]))],
    ['an extent of no length', ({ cookie }) => chunk(cookie, 5, Buffer.concat([u32(1), u32(0), u32(0)]))],
    ['half an extent', ({ cookie }) => chunk(cookie, 5, Buffer.concat([u32(1), u32(4096)]))],
    ['a context only', ({ cookie }) => chunk(cookie, 5, u32(1))],
    ['64 MiB', ({ cookie }) => chunk(cookie, 5, u32(1), { length: 64 * MIB })],
    ['data', ({ cookie }) => dataChunk(cookie, 0, Buffer.alloc(512))],
  ])('of %s to a block status request end the connection', async (_name, reply) => {
    await using server = await answering(reply);
    await using client = await server.connect({ blockStatus: true });
    await expect(client.blockStatus(0, MIB)).rejects.toMatchObject({ code: 'nbd_protocol' });
  });

  it('of block status beyond the end are cut there', async () => {
    await using server = await answering(({ cookie }) =>
      chunk(cookie, 5, Buffer.concat([u32(1), u32(4096), u32(3), u32(2 ** 31), u32(0), u32(512), u32(0)])),
    );
    await using client = await server.connect({ blockStatus: true });
    expect(await client.blockStatus(MIB - 8192, 8192)).toEqual([
      { offset: MIB - 8192, length: 4096, hole: true, zero: true },
      { offset: MIB - 4096, length: 4096, hole: false, zero: false },
    ]);
  });

  it('in chunks of any order, holes among them, make up what was asked for', async () => {
    const data = randomBytes(8192);
    await using server = await answering(({ cookie, offset }) =>
      Buffer.concat([
        dataChunk(cookie, offset + 5000, data.subarray(5000), { done: false }),
        chunk(cookie, 2, Buffer.concat([u64(offset + 1000), u32(4000)]), { done: false }),
        dataChunk(cookie, offset, data.subarray(0, 1000), { done: false }),
        chunk(cookie, 0, Buffer.alloc(0)),
      ]),
    );
    await using client = await server.connect();
    const into = Buffer.alloc(8192, 0xff);
    await client.read(4096, 8192, into);
    data.fill(0, 1000, 5000);
    expect(into.equals(data)).toBe(true);
  });

  it('of a long read are handed over in slices, each once, as soon as it is there', async () => {
    const [MAX, SIZE] = [60_000, 4 * TRANSFER_BYTES + 70_000];
    const data = randomBytes(SIZE + 4096);
    const answers: (() => void)[] = [];
    await using server = await FakeServer.start({
      sizeBytes: SIZE + 4096,
      blockSizes: [1, 4096, 3 * TRANSFER_BYTES],
      onRequest({ cookie, offset, length }, socket) {
        // In chunks that fit no slice, those of a request from back to front.
        answers.push(() => {
          const last = (Math.ceil(length / MAX) - 1) * MAX;
          for (let at = last; at >= 0; at -= MAX) {
            const bytes = data.subarray(offset + at, offset + Math.min(at + MAX, length));
            socket.write(dataChunk(cookie, offset + at, bytes, { done: at === 0 }));
          }
        });
      },
    });
    await using client = await server.connect();
    const slices: { at: number; length: number }[] = [];
    const into = Buffer.alloc(SIZE);
    const reading = client.readSlices(4096, SIZE, (at, slice) => {
      slice.copy(into, at);
      slices.push({ at, length: slice.length });
      giveBackMemory(slice);
    });
    await eventually('both requests were read', () => answers.length === 2);
    answers[1]?.();
    await eventually('the end is there', () => slices.length === 2);
    answers[0]?.();
    await reading;
    expect(into.equals(data.subarray(4096))).toBe(true);
    const lengths = [70_000, ...Array.from({ length: 4 }, () => TRANSFER_BYTES)];
    expect(slices).toEqual(lengths.map((length, before) => ({ at: (4 - before) * TRANSFER_BYTES, length })));
  });

  it.each([
    ['a simple reply', (request: FakeRequest) => simpleReply(request.cookie, 5), ''],
    [
      'an error chunk',
      ({ cookie }: FakeRequest) =>
        chunk(cookie, 0x8001, Buffer.concat([u32(5), u16(4), Buffer.from('disk')])),
      'disk',
    ],
    [
      'an error chunk with offset',
      ({ cookie }: FakeRequest) =>
        chunk(cookie, 0x8002, Buffer.concat([u32(5), u16(4), Buffer.from('disk'), u64(4096)])),
      'disk',
    ],
    [
      'an error chunk of a kind that is not known',
      ({ cookie }: FakeRequest) =>
        chunk(cookie, 0x8123, Buffer.concat([u32(5), u16(4), Buffer.from('disk')])),
      'disk',
    ],
    [
      'an error after data',
      ({ cookie, offset }: FakeRequest) =>
        Buffer.concat([
          dataChunk(cookie, offset, Buffer.alloc(100), { done: false }),
          chunk(cookie, 0x8001, Buffer.concat([u32(5), u16(0)])),
        ]),
      '',
    ],
    [
      'an error before the end',
      ({ cookie }: FakeRequest) =>
        Buffer.concat([
          chunk(cookie, 0x8001, Buffer.concat([u32(5), u16(0)]), { done: false }),
          chunk(cookie, 0, Buffer.alloc(0)),
        ]),
      '',
    ],
  ])('with %s fail the request and nothing else', async (_name, reply, said) => {
    let first = true;
    await using server = await FakeServer.start({
      sizeBytes: MIB,
      onRequest(request, socket) {
        socket.write(first ? reply(request) : server.answer(request));
        first = false;
      },
    });
    await using client = await server.connect();
    await expect(client.read(4096, 8192)).rejects.toMatchObject({
      code: 'nbd_read_failed',
      message: expect.stringContaining(said),
      context: { offset: '4096', error: 'EIO' },
    });
    expect(await client.read(4096, 8192)).toEqual(Buffer.alloc(8192));
  });

  it('that come before the payload was sent do not give the payload back', async () => {
    const readPayload = Promise.withResolvers<void>();
    await using server = await FakeServer.start({
      sizeBytes: 32 * MIB,
      async beforePayload(cookie, socket) {
        socket.write(chunk(cookie, 0, Buffer.alloc(0)));
        await readPayload.promise;
      },
      onRequest: () => undefined,
    });
    await using client = await server.connect();
    const data = randomBytes(20 * MIB);
    let settled = false;
    const writing = client.write(0, data).then(() => (settled = true));
    await eventually('the reply was read', () => client.bytesUnderWay === 0);
    expect(settled).toBe(false);
    readPayload.resolve();
    await writing;
    await eventually('the payload arrived', () => server.requests[0]?.data.equals(data));
  });

  it.each<[string, (client: NbdClient, server: FakeServer) => unknown]>([
    ['abandoned', (client) => client.abandon(new SendenseError('cancelled', 'no longer wanted'))],
    ['closed', async (client) => client[Symbol.asyncDispose]()],
    ['lost', (_, server) => server.sockets.forEach((socket) => socket.destroy())],
  ])('that come before the payload was sent count when the connection is %s then', async (_, end) => {
    const ENOSPC = 28;
    const parts = [
      { offset: 0, answer: (cookie: bigint) => chunk(cookie, 0x8001, Buffer.concat([u32(ENOSPC), u16(0)])) },
      { offset: 16 * MIB, answer: (cookie: bigint) => chunk(cookie, 0, Buffer.alloc(0)) },
    ];
    await using server = await FakeServer.start({
      sizeBytes: 32 * MIB,
      async beforePayload(cookie, socket) {
        socket.write(Buffer.concat(parts.map(({ answer }, index) => answer(cookie + BigInt(index)))));
        await new Promise((resolve) => socket.once('close', resolve));
      },
    });
    await using client = await server.connect();
    const writes = parts.map(async ({ offset }) => client.write(offset, randomBytes(8 * MIB)));
    const settled = Promise.allSettled(writes);
    await eventually('the replies were read', () => client.bytesUnderWay === 0);
    await end(client, server);
    const [refused, answered] = await settled;
    expect(refused).toMatchObject({ reason: { code: 'out_of_space' } });
    // The server cannot have done what it was not sent.
    expect(answered?.status).toBe('rejected');
  });
});
