import { randomBytes } from 'node:crypto';
import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { giveBackMemory } from '@sendense/runtime';
import { copiesPackets, LARGE_PACKET_BYTES, placeOfNextRead, takeLargePackets } from './large-packets.js';
import { ciphers, type SshConnection } from './library.js';

interface Cipher {
  allocPacket(payloadBytes: number): Buffer;
  encrypt(packet: Buffer): void;
}
interface Decipher {
  decrypt(data: Buffer, from: number, end: number): unknown;
}

/** Both ends of one direction of a connection. */
function pair(onPayload: (payload: Buffer) => unknown, isKnown = true) {
  const info = ciphers.CIPHER_INFO['aes128-gcm@openssh.com'];
  const key = Buffer.alloc(info?.keyLen ?? 0, 1);
  const iv = Buffer.alloc(info?.ivLen ?? 0, 2);
  const sent: Buffer[] = [];
  const outbound = { seqno: 0, cipherInfo: info, cipherKey: key, cipherIV: iv };
  const inbound = { seqno: 0, decipherInfo: info, decipherKey: key, decipherIV: iv, onPayload };
  const cipher = ciphers.createCipher({
    outbound: { ...outbound, onWrite: (data: Buffer) => sent.push(data) },
  }) as Cipher;
  const decipher = ciphers.createDecipher({ inbound }) as Decipher;
  if (isKnown)
    takeLargePackets({
      _protocol: { _decipher: decipher, _onPayload: onPayload },
    } as unknown as SshConnection);
  return {
    decipher,
    send: (payload: Buffer): void => {
      const packet = cipher.allocPacket(payload.length);
      payload.copy(packet, 5);
      cipher.encrypt(packet);
    },
    wire: () => Buffer.concat(sent),
  };
}

/** As a network does: in chunks of any size. */
function feed(decipher: Decipher, wire: Buffer, cuts: readonly number[]): void {
  const ends = [...new Set([...cuts.map((cut) => cut % (wire.length + 1)), wire.length])].sort(
    (a, b) => a - b,
  );
  let at = 0;
  for (const end of ends) {
    // A chunk of its own, overwritten afterwards: nothing of it may be needed later.
    const chunk = Buffer.from(wire.subarray(at, end));
    decipher.decrypt(chunk, 0, chunk.length);
    chunk.fill(0xee);
    at = end;
  }
}

/** As a socket does that reads to where the next bytes belong. @returns how many bytes were read to such places */
function feedInPlace(decipher: Decipher, wire: Buffer, sizes: readonly number[]): number {
  const connection = { _protocol: { _decipher: decipher } } as unknown as SshConnection;
  const elsewhere = Buffer.alloc(64 << 10);
  let inPlace = 0;
  for (let at = 0, read = 0; at < wire.length; read++) {
    const place = placeOfNextRead(connection);
    const room = place ?? elsewhere;
    const count = Math.min(sizes[read % sizes.length] ?? room.length, room.length, wire.length - at);
    wire.copy(room, 0, at, at + count);
    decipher.decrypt(room.subarray(0, count), 0, count);
    at += count;
    if (place) inPlace += count;
    elsewhere.fill(0xee);
  }
  return inPlace;
}

const RANDOM = randomBytes(LARGE_PACKET_BYTES + 1024);

/** Other bytes for another length. */
function content(bytes: number): Buffer {
  const start = bytes % 251;
  return RANDOM.subarray(start, start + bytes);
}

describe('large packets', () => {
  it('are what every connection with AES-GCM takes', () => {
    const { decipher } = pair(() => undefined);
    expect(copiesPackets({ _protocol: { _decipher: decipher } } as unknown as SshConnection)).toBe(true);
    expect(copiesPackets({ _protocol: {} } as unknown as SshConnection)).toBe(false);
  });

  it('arrive as they were sent, however the network cuts them', () => {
    const size = fc.oneof(
      fc.integer({ min: 1, max: 200 }),
      fc.integer({ min: 16_000, max: 40_000 }),
      fc.constant(LARGE_PACKET_BYTES + 9),
    );
    fc.assert(
      fc.property(
        fc.array(size, { minLength: 1, maxLength: 6 }),
        fc.array(fc.nat(2_000_000), { maxLength: 12 }),
        (sizes, cuts) => {
          const arrived: Buffer[] = [];
          const { decipher, send, wire } = pair((payload) => {
            arrived.push(Buffer.from(payload));
            giveBackMemory(payload);
            return undefined;
          });
          for (const bytes of sizes) send(content(bytes));
          feed(decipher, wire(), cuts);
          expect(arrived.length).toBe(sizes.length);
          for (const [index, bytes] of sizes.entries())
            expect(arrived[index]?.equals(content(bytes))).toBe(true);
        },
      ),
      { numRuns: 60 },
    );
  });

  it('arrive as they were sent when they are read to where they belong', () => {
    const size = fc.oneof(
      fc.integer({ min: 1, max: 200 }),
      fc.integer({ min: 100_000, max: LARGE_PACKET_BYTES }),
    );
    fc.assert(
      fc.property(
        fc.array(size, { minLength: 1, maxLength: 6 }),
        fc.array(fc.integer({ min: 1, max: 300_000 }), { minLength: 1, maxLength: 6 }),
        (sizes, reads) => {
          const arrived: Buffer[] = [];
          const { decipher, send, wire } = pair((payload) => {
            arrived.push(Buffer.from(payload));
            giveBackMemory(payload);
            return undefined;
          });
          for (const bytes of sizes) send(content(bytes));
          const inPlace = feedInPlace(decipher, wire(), reads);
          expect(arrived.map((payload, index) => payload.equals(content(sizes[index]!)))).toEqual(
            sizes.map(() => true),
          );
          if (Math.max(...sizes) > 100_000) expect(inPlace).toBeGreaterThan(0);
        },
      ),
      { numRuns: 60 },
    );
  });

  it('are refused when they are longer than was offered, or no packets', () => {
    for (const length of [0, 15, 17, 2 ** 31, LARGE_PACKET_BYTES + 4096]) {
      const { decipher } = pair(() => undefined);
      const head = Buffer.alloc(4);
      head.writeUInt32BE(length);
      expect(() => decipher.decrypt(head, 0, 4)).toThrow(/Bad packet length/);
    }
  });

  it('are refused from a stranger', () => {
    const { decipher, send, wire } = pair(() => undefined, false);
    send(content(30_000));
    decipher.decrypt(wire(), 0, wire().length);
    const length = Buffer.alloc(4);
    length.writeUInt32BE(64 << 10);
    expect(() => decipher.decrypt(length, 0, 4)).toThrow('Bad packet length');
  });

  it('are refused when a bit of them was changed', () => {
    const { decipher, send, wire } = pair(() => undefined);
    send(content(50_000));
    const bytes = wire();
    bytes[30_000] = (bytes[30_000] ?? 0) ^ 1;
    expect(() => decipher.decrypt(bytes, 0, bytes.length)).toThrow();
  });

  it('stop where the reader asks for it, with the rest untouched', () => {
    let count = 0;
    const { decipher, send, wire } = pair(() => (++count === 1 ? false : undefined));
    send(content(20_000));
    const first = wire().length;
    send(content(30_000));
    expect(decipher.decrypt(wire(), 0, wire().length)).toBe(first);
    expect(count).toBe(1);
  });
});
