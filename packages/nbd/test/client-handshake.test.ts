import { describe, expect, it } from '@jest/globals';
import { eventually } from '@sendense/runtime/testing';
import { FakeServer, lie, optionReply, u16, u32, u64, type FakeOptions } from './fake-server.js';

const MIB = 1024 * 1024;
const exportInfo = Buffer.concat([u16(0), u64(MIB), u16(1)]);

describe('a handshake', () => {
  it.each<[string, NonNullable<FakeOptions['lies']>]>([
    ['another protocol', { greeting: Buffer.from('SSH-2.0-OpenSSH_9.2p1\r\n') }],
    [
      'oldstyle NBD',
      { greeting: Buffer.concat([Buffer.from('NBDMAGIC'), u64(0x420281861253n), Buffer.alloc(136)]) },
    ],
    ['no fixed newstyle', { greeting: Buffer.concat([Buffer.from('NBDMAGICIHAVEOPT'), u16(0)]) }],
    ['a wrong magic number', { 'option-8': Buffer.alloc(20, 7) }],
    ['an answer to another option', { 'option-8': optionReply(9, 1) }],
    [
      'an answer that is too long',
      { 'option-7': Buffer.concat([optionReply(7, 3).subarray(0, 16), u32(1 << 30)]) },
    ],
    ['no size', { 'option-7': optionReply(7, 1) }],
    ['a size that is cut off', { 'option-7': optionReply(7, 3, exportInfo.subarray(0, 8)) }],
    [
      'a size beyond all disks',
      {
        'option-7': Buffer.concat([
          optionReply(7, 3, Buffer.concat([u16(0), u64(2n ** 63n), u16(1)])),
          optionReply(7, 1),
        ]),
      },
    ],
    ['information without a type', { 'option-7': optionReply(7, 3, Buffer.alloc(1)) }],
    [
      'answers without end',
      { 'option-7': Buffer.concat(Array.from({ length: 200 }, () => optionReply(7, 3, exportInfo))) },
    ],
    [
      'more than was asked for',
      { 'option-7': Buffer.concat([optionReply(7, 3, exportInfo), optionReply(7, 1), Buffer.alloc(5)]) },
    ],
    [
      'a flood',
      {
        greeting: Buffer.concat([
          Buffer.from('NBDMAGICIHAVEOPT'),
          u16(3),
          optionReply(8, 1),
          Buffer.alloc(2 * MIB),
        ]),
      },
    ],
    [
      'a context that was not asked for',
      {
        'option-10': Buffer.concat([
          optionReply(10, 4, Buffer.concat([u32(1), Buffer.from('base:dirty')])),
          optionReply(10, 1),
        ]),
      },
    ],
  ])('with %s is a protocol error', async (_name, lies) => {
    await using server = await lie(lies);
    await expect(server.connect({ blockStatus: true })).rejects.toMatchObject({ code: 'nbd_protocol' });
  });

  it.each([[[0, 1, 1]], [[3, 4096, 65_536]], [[131_072, 131_072, MIB]], [[4096, 4096, 512]]])(
    'with block sizes %p is a protocol error',
    async (sizes) => {
      await using server = await FakeServer.start({
        sizeBytes: MIB,
        blockSizes: sizes as [number, number, number],
      });
      await expect(server.connect()).rejects.toMatchObject({ code: 'nbd_protocol' });
    },
  );

  it.each([
    [1, 'UNSUP', false],
    [2, 'POLICY', false],
    [5, 'TLS_REQD', false],
    [6, 'UNKNOWN', false],
    [7, 'SHUTDOWN', true],
    [77, 'error 77', false],
  ])('that ends with error %p tells the reason %p', async (number, reason, retryable) => {
    const reply = optionReply(7, 0x80000000 + number, Buffer.from('not\ntoday'));
    await using server = await lie({ 'option-7': reply });
    await expect(server.connect()).rejects.toMatchObject({
      code: 'nbd_refused',
      retryable,
      context: { reason },
      message: expect.stringContaining('not\\ntoday'),
    });
  });

  it('goes on without what the server does not know', async () => {
    await using server = await lie({ 'option-10': optionReply(10, 0x80000001) });
    await using client = await server.connect({ blockStatus: true });
    expect(client.export.hasBlockStatus).toBe(false);
    expect(await client.read(0, 512)).toEqual(Buffer.alloc(512));
  });

  it('that does not end is given up in time, or when the caller wants', async () => {
    await using server = await lie({ 'option-7': Buffer.alloc(0) });
    await expect(server.connect({ timeoutMs: 50 })).rejects.toMatchObject({
      code: 'timeout',
      retryable: true,
    });
    await eventually('the client hung up', () => server.sockets.size === 0);
  });
});
