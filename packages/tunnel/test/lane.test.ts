import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { buffer, text } from 'node:stream/consumers';
import { describe, expect, it } from '@jest/globals';
import {
  giveBackMemory,
  isPassedOn,
  memoryOf,
  passOnMemory,
  silentLogger,
  takeRoomyMemory,
  TRANSFER_BYTES,
} from '@sendense/runtime';
import { eventually } from '@sendense/runtime/testing';
import { generateEd25519Key, openLane, type Lane } from '../src/index.js';
import { echoServer, JOB, localServer, NODE, startHarness, type Harness } from './harness.js';

async function lane(hub: Harness, options: { jobId?: string } = {}): Promise<Lane> {
  return openLane({
    hub: hub.hub,
    nodeName: NODE,
    jobId: options.jobId ?? JOB,
    privateKeyPem: hub.key.privateKeyPem,
    log: silentLogger,
  });
}

describe('a lane', () => {
  it('carries bytes to a leased port and back, whole', async () => {
    await using hub = await startHarness();
    await using echo = await echoServer();
    hub.leases.set(echo.port, JOB);
    await using open = await lane(hub);
    const stream = await open.openPort(echo.port);
    const sent = randomBytes(20 << 20);
    const received = buffer(stream);
    for (let at = 0; at < sent.length; at += 999_983) {
      const chunk = sent.subarray(at, at + 999_983);
      if (!stream.write(chunk)) await once(stream, 'drain');
    }
    stream.end();
    const hash = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');
    expect(hash(await received)).toBe(hash(sent));
    expect(hub.refusals).toEqual([]);
    await eventually('bytes are counted', () => hub.server.statistics().bytesFromNodes === sent.length);
    await eventually('the channel is given back', () => hub.server.statistics().channels === 0);
  });

  it.each([
    ['with the same keys', {}],
    ['with new keys again and again', { limits: { rekeyBytes: 3 << 20 } }],
  ])('sends memory that is passed on and gives it back, and only reads what is lent, %s', async (_, how) => {
    await using hub = await startHarness(how);
    await using echo = await echoServer();
    hub.leases.set(echo.port, JOB);
    await using open = await lane(hub);
    const stream = await open.openPort(echo.port);
    const sent: Buffer[] = [];
    const received = buffer(stream);
    for (let turn = 0; turn < 40; turn++) {
      const length = turn % 4 === 0 ? TRANSFER_BYTES : 1 + ((turn * 7919 * 31) % TRANSFER_BYTES);
      const memory = takeRoomyMemory(length);
      randomBytes(length).copy(memory);
      const content = Buffer.from(memory);
      if (turn % 3 === 0) {
        // In parts that touch, whose memory is wanted back: each must find its content as it was.
        const parts = [memory.subarray(0, length >> 1), memory.subarray(length >> 1)];
        await Promise.all(parts.map((part) => new Promise((written) => stream.write(part, written))));
        expect(memory.equals(content)).toBe(true);
        expect(memoryOf(memory)).toBeDefined();
        giveBackMemory(memory);
        sent.push(content);
      } else {
        passOnMemory(memory);
        if (!stream.write(memory)) await once(stream, 'drain');
        // Maybe somebody else has it already.
        await eventually('it is given back', () => !isPassedOn(memory));
        sent.push(content);
      }
    }
    stream.end();
    expect((await received).equals(Buffer.concat(sent))).toBe(true);
  });

  it('half-closes in both directions', async () => {
    await using hub = await startHarness();
    // Says all it has to say and ends, then answers what it is told.
    const told: Promise<string>[] = [];
    await using polite = await localServer((socket) => {
      socket.end('greeting');
      told.push(text(socket));
    });
    hub.leases.set(polite.port, JOB);
    await using open = await lane(hub);
    const stream = await open.openPort(polite.port);
    expect(await text(stream)).toBe('greeting');
    stream.write('still ');
    stream.end('here');
    expect(await eventually('a connection', async () => told[0])).toBe('still here');
    await eventually('both ends are gone', () => polite.sockets.size === 0);
  });

  it('ends its streams when the other end breaks', async () => {
    await using hub = await startHarness();
    await using rude = await localServer((socket) => socket.once('data', () => socket.resetAndDestroy()));
    hub.leases.set(rude.port, JOB);
    await using open = await lane(hub);
    const stream = await open.openPort(rude.port);
    stream.write('hello');
    expect(await text(stream)).toBe('');
    await eventually('closed', () => stream.closed);
  });

  it('does not open a port that is not leased, leased to another job, or where nothing listens', async () => {
    await using hub = await startHarness();
    await using echo = await echoServer();
    await using gone = await echoServer();
    await using open = await lane(hub);
    await expect(open.openPort(echo.port)).rejects.toMatchObject({ code: 'permission_denied' });
    hub.leases.set(echo.port, 'another-job');
    await expect(open.openPort(echo.port)).rejects.toMatchObject({ code: 'permission_denied' });
    hub.leases.set(gone.port, JOB);
    await gone[Symbol.asyncDispose]();
    await expect(open.openPort(gone.port)).rejects.toMatchObject({ code: 'permission_denied' });
    await eventually('both are reported', () => hub.refusals.length === 2);
    expect(hub.refusals[0]).toMatchObject({
      what: 'channel',
      nodeName: NODE,
      detail: `to 127.0.0.1:${echo.port}: the port is not leased`,
      remoteAddress: '127.0.0.1',
    });
  });

  it('is refused for a job that does not run, and for a key that is not enrolled', async () => {
    await using hub = await startHarness();
    await expect(lane(hub, { jobId: 'other' })).rejects.toMatchObject({ code: 'permission_denied' });
    const stranger = openLane({
      hub: hub.hub,
      nodeName: NODE,
      jobId: JOB,
      privateKeyPem: generateEd25519Key().privateKeyPem,
      log: silentLogger,
    });
    await expect(stranger).rejects.toMatchObject({ code: 'permission_denied', retryable: false });
    await eventually('both are reported', () => hub.refusals.length === 2);
    expect(hub.refusals.map(({ what }) => what)).toEqual(['authentication', 'authentication']);
    expect(hub.refusals[0]?.detail).toMatch(/^user node-1\+other, key SHA256:\S{43}: other does not run$/);
  });

  it('loses channels and lane at once when its job is revoked', async () => {
    await using hub = await startHarness();
    await using echo = await echoServer();
    hub.leases.set(echo.port, JOB);
    await using open = await lane(hub);
    const stream = await open.openPort(echo.port);
    hub.leases.delete(echo.port);
    await hub.server.revokeJob(JOB);
    await eventually('the port is not reached any more', () => echo.sockets.size === 0);
    expect(await open.lost).toMatchObject({ code: 'tunnel_lost' });
    await eventually('the stream is closed', () => stream.closed);
    await expect(lane(hub).then((again) => again.openPort(echo.port))).rejects.toMatchObject({
      code: 'permission_denied',
    });
  });

  it('is not opened by an answer that a revocation overtook', async () => {
    const asked = Promise.withResolvers<void>();
    const answer = Promise.withResolvers<void>();
    await using hub = await startHarness({
      policy: {
        mayOpen: async () => {
          asked.resolve();
          await answer.promise;
          return { allowed: true, jobId: JOB };
        },
      },
    });
    await using echo = await echoServer();
    await using open = await lane(hub);
    const opening = open.openPort(echo.port);
    opening.catch(() => undefined);
    await asked.promise;
    await hub.server.revokeJob(JOB);
    answer.resolve();
    await expect(opening).rejects.toMatchObject({
      code: expect.stringMatching(/permission_denied|tunnel_lost/),
    });
    expect(echo.sockets.size).toBe(0);
  });

  it('tells a hub with another host key by its fingerprint', async () => {
    await using hub = await startHarness();
    await using other = await startHarness();
    const pinned = { ...hub.hub, hostKeyFingerprint: other.hub.hostKeyFingerprint };
    const opening = openLane({
      hub: pinned,
      nodeName: NODE,
      jobId: JOB,
      privateKeyPem: hub.key.privateKeyPem,
      log: silentLogger,
    });
    await expect(opening).rejects.toMatchObject({
      code: 'host_key_mismatch',
      message: expect.stringContaining(hub.hub.hostKeyFingerprint),
    });
  });

  it('can be given up while it opens', async () => {
    await using silent = await localServer((socket) => socket.resume().once('end', () => socket.end()));
    const giveUp = new AbortController();
    const opening = openLane({
      hub: { host: '127.0.0.1', port: silent.port, hostKeyFingerprint: 'SHA256:none' },
      nodeName: NODE,
      jobId: JOB,
      privateKeyPem: generateEd25519Key().privateKeyPem,
      log: silentLogger,
      signal: giveUp.signal,
    });
    opening.catch(() => undefined);
    await eventually('it has connected', () => silent.sockets.size === 1);
    giveUp.abort();
    await expect(opening).rejects.toMatchObject({ code: 'cancelled' });
    await eventually('its socket is closed', () => silent.sockets.size === 0);
  });

  it('goes on with a reader that stops again and again', async () => {
    await using hub = await startHarness();
    let read = 0;
    await using slow = await localServer((socket) => {
      const timer = setInterval(() => {
        const chunk = socket.read(256 << 10) ?? socket.read();
        read += (chunk as Buffer | null)?.length ?? 0;
      }, 1);
      socket.once('close', () => clearInterval(timer));
      socket.once('end', () => socket.end());
    });
    hub.leases.set(slow.port, JOB);
    await using open = await lane(hub);
    const stream = await open.openPort(slow.port);
    const chunk = Buffer.alloc(1 << 20);
    for (let count = 0; count < 100; count++) {
      if (!stream.write(chunk)) await once(stream, 'drain');
    }
    stream.end().resume();
    await once(stream, 'end');
    expect(read).toBe(100 << 20);
  });

  it('waits for a slow reader instead of filling the hub’s memory', async () => {
    await using hub = await startHarness();
    await using stuck = await localServer((socket) => socket.pause());
    hub.leases.set(stuck.port, JOB);
    await using open = await lane(hub);
    const stream = await open.openPort(stuck.port);
    let written = 0;
    const chunk = Buffer.alloc(1 << 20);
    // Room: the stream itself, the channel's window, and the kernel's buffers.
    while (written < 200 << 20) {
      written += chunk.length;
      const room = stream.write(chunk);
      const drained = new Promise((resolve) => stream.once('drain', () => resolve('drained')));
      const waited = new Promise((resolve) => setTimeout(() => resolve('full'), 1000));
      if (!room && (await Promise.race([drained, waited])) === 'full') break;
    }
    expect(written).toBeLessThan(40 << 20);
  });
});
