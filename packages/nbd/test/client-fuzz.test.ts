import { describe, expect, it } from '@jest/globals';
import { errorCode } from '@sendense/core';
import fc from 'fast-check';
import type { NbdClient } from '../src/index.js';
import { FakeServer, lie, optionReply, u16, u32, u64 } from './fake-server.js';

const MIB = 1024 * 1024;
const exportInfo = Buffer.concat([u16(0), u64(MIB), u16(1)]);

/** What a client gets out of a session: enough to use every kind of reply. */
async function session(client: NbdClient): Promise<void> {
  await client.read(4096, 70_000);
  await client.write(0, Buffer.alloc(3000, 1));
  await client.writeZeroes(100, 5000);
  if (client.export.hasBlockStatus) await client.blockStatus(0, MIB);
  await client.flush();
}

/** Records everything that a truthful server says in a session, with the requests' cookies in place. */
async function recordedSession(structured: boolean): Promise<Buffer[]> {
  const said: Buffer[] = [];
  await using server = await FakeServer.start({
    sizeBytes: MIB,
    structured,
    onRequest(request, socket) {
      const reply = server.answer(request);
      said.push(reply);
      socket.write(reply);
    },
  });
  await using client = await server.connect({ blockStatus: true });
  await session(client);
  return said;
}

describe('a connection that ends', () => {
  it.each([true, false])(
    'at any byte of a session is an error, and no wait (structured: %p)',
    async (structured) => {
      const said = await recordedSession(structured);
      const whole = Buffer.concat(said);
      const cuts = [
        ...Array.from({ length: 120 }, (_, at) => at),
        whole.length - 1,
        whole.length - 20,
        30_000,
      ];
      for (const cut of cuts) {
        let left = cut;
        await using server = await FakeServer.start({
          sizeBytes: MIB,
          structured,
          onRequest(request, socket) {
            const reply = server.answer(request).subarray(0, left);
            left -= reply.length;
            socket.write(reply);
            if (left === 0) socket.end();
          },
        });
        await using client = await server.connect({ blockStatus: true });
        await expect(session(client)).rejects.toMatchObject({ code: 'nbd_connection_lost' });
      }
    },
  );

  it('at any stage of the handshake is an error, and no wait', async () => {
    for (const stage of ['greeting', 'option-8', 'option-10', 'option-7']) {
      for (const cut of [0, 1, 10, 17]) {
        const truth =
          stage === 'greeting' ? Buffer.from('NBDMAGICIHAVEOPT\0') : optionReply(Number(stage.slice(7)), 1);
        await using server = await lie({ [stage]: truth.subarray(0, cut) }, true);
        await expect(server.connect({ blockStatus: true })).rejects.toMatchObject({
          code: 'nbd_connection_lost',
        });
      }
    }
  });
});

const POSSIBLE = [
  'done',
  'nbd_protocol',
  'nbd_connection_lost',
  'nbd_read_failed',
  'nbd_write_failed',
  'out_of_space',
];

describe('whatever a server says', () => {
  it.each([true, false])('the client settles with an error of ours (structured: %p)', async (structured) => {
    const damage = fc.array(fc.record({ at: fc.nat(40), value: fc.nat(255) }), {
      minLength: 1,
      maxLength: 4,
    });
    await fc.assert(
      fc.asyncProperty(fc.nat(4), damage, fc.boolean(), async (victim, changes, cut) => {
        await using server = await FakeServer.start({
          sizeBytes: MIB,
          structured,
          onRequest(request, socket) {
            const reply = Buffer.from(server.answer(request));
            if (server.requests.length <= victim) {
              socket.write(reply);
              return;
            }
            for (const { at, value } of changes) reply[at % reply.length] = value;
            // A damaged length may make the client wait for more: it then sees the end.
            socket.end(cut ? reply.subarray(0, 40) : reply);
          },
        });
        await using client = await server.connect({ blockStatus: true });
        const outcome = await session(client).then(() => 'done', errorCode);
        expect(POSSIBLE).toContain(outcome);
      }),
      { numRuns: 300 },
    );
  });

  it('in a handshake, the client settles with an error of ours', async () => {
    const pieces = fc.oneof(
      fc.uint8Array({ maxLength: 80 }),
      fc.constantFrom(
        optionReply(8, 1),
        optionReply(7, 1),
        optionReply(7, 3, exportInfo),
        optionReply(10, 4, u32(1)),
      ),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.array(pieces, { maxLength: 4 }),
        fc.constantFrom('greeting', 'option-8', 'option-10', 'option-7'),
        async (parts, stage) => {
          await using server = await lie({ [stage]: Buffer.concat(parts) }, true);
          const connecting = server
            .connect({ blockStatus: true })
            .then(async (client) => client[Symbol.asyncDispose]().then(() => 'connected'), errorCode);
          expect(['connected', 'nbd_protocol', 'nbd_connection_lost', 'nbd_refused']).toContain(
            await connecting,
          );
        },
      ),
      { numRuns: 150 },
    );
  });
});
