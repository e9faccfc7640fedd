import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { Duplex } from 'node:stream';
import { describe, expect, it } from '@jest/globals';
import { silentLogger as log } from '@sendense/runtime';
import { requires, temporaryDirectory } from '@sendense/runtime/testing';
import fc from 'fast-check';
import { NbdClient, probeExport } from '../src/index.js';
import { nbdinfo, nbdkit, qemuImg, qemuNbd, qemuNbdOnTcp } from './servers.js';

const MIB = 1024 * 1024;
const describeWith = requires(describe, 'nbdkit', 'qemu-nbd', 'qemu-img', 'nbdinfo');

/** Passes a socket on in chunks of odd sizes, as a tunnel may. */
function choppy(path: string): Duplex {
  const socket = connect(path);
  let size = 1;
  const stream = new Duplex({
    read: () => void socket.resume(),
    write: (data: Buffer, _encoding, done) => void socket.write(data, () => done()),
    final: (done) => void socket.end(done),
    destroy: (error, done) => {
      socket.destroy();
      done(error);
    },
  });
  socket.on('data', (data: Buffer) => {
    for (let at = 0; at < data.length; at += size, size = (size * 7) % 8191)
      stream.push(data.subarray(at, at + size));
  });
  socket.on('end', () => stream.push(null));
  return stream;
}

describeWith('the client, with real servers,', () => {
  it.each([
    ['structured replies', []],
    ['simple replies', ['--no-sr']],
    ['zeroes in the handshake', ['--mask-handshake=1']],
  ])('reads what it wrote: %s', async (_name, options) => {
    await using server = await nbdkit(...options, 'memory', 'size=8M');
    await using client = await server.connect();
    const model = Buffer.alloc(8 * MIB);
    const offset = fc.nat(8 * MIB - 1);
    const steps = fc.array(
      fc.record({ offset, length: fc.integer({ min: 1, max: MIB }), zero: fc.boolean() }),
      {
        minLength: 5,
        maxLength: 12,
      },
    );
    await fc.assert(
      fc.asyncProperty(steps, async (list) => {
        for (const step of list) {
          const length = Math.min(step.length, 8 * MIB - step.offset);
          const data = step.zero ? Buffer.alloc(length) : randomBytes(length);
          data.copy(model, step.offset);
          if (step.zero) await client.writeZeroes(step.offset, length);
          else await client.write(step.offset, data);
        }
        await client.flush();
        const reads = list.map(async ({ offset: at, length }) => {
          const count = Math.min(length, 8 * MIB - at);
          expect((await client.read(at, count)).equals(model.subarray(at, at + count))).toBe(true);
        });
        await Promise.all(reads);
      }),
      { numRuns: 10 },
    );
    expect((await client.read(0, 8 * MIB)).equals(model)).toBe(true);
  });

  it('tells about an export what nbdinfo tells', async () => {
    using folder = temporaryDirectory();
    const image = join(folder.path, 'disk.qcow2');
    await qemuImg('create', '-q', '-f', 'qcow2', image, '100M');
    await using tcp = await qemuNbdOnTcp(image);
    const probed = await probeExport(tcp.address, 'disk', { log });
    if (tcp.address.kind !== 'tcp') throw new Error('expected TCP');
    const uri = `nbd://127.0.0.1:${tcp.address.port}/disk`;
    const told = JSON.parse(await nbdinfo('--json', uri)) as { exports: Record<string, unknown>[] };
    expect(told.exports[0]).toMatchObject({
      'export-size': probed.sizeBytes,
      is_read_only: probed.readOnly,
      can_flush: probed.canFlush,
      can_zero: probed.canWriteZeroes,
      can_fast_zero: probed.canFastZero,
      can_multi_conn: probed.canMultiConn,
      block_size_minimum: probed.minBlockBytes,
      block_size_preferred: probed.preferredBlockBytes,
      block_size_maximum: probed.maxBlockBytes,
    });
    expect(probed).toMatchObject({
      sizeBytes: 100 * MIB,
      readOnly: false,
      canMultiConn: true,
      hasBlockStatus: false,
    });
  });

  it('works through any stream, however its bytes are cut', async () => {
    await using server = await nbdkit('memory', 'size=4M');
    if (server.address.kind !== 'unix') throw new Error('expected a socket');
    await using client = await NbdClient.connect({
      stream: choppy(server.address.path),
      exportName: '',
      log,
    });
    const data = randomBytes(3 * MIB);
    await client.write(1000, data);
    const into = Buffer.alloc(4 * MIB);
    const parts = Array.from({ length: 30 }, async (_, index) => {
      const at = index * 100_000;
      return client.read(1000 + at, 100_000, into.subarray(at, at + 100_000));
    });
    await Promise.all(parts);
    expect(into.subarray(0, 3_000_000).equals(data.subarray(0, 3_000_000))).toBe(true);
  });

  it('keeps many requests under way at a time, and matches replies that come in any order', async () => {
    using folder = temporaryDirectory();
    const image = join(folder.path, 'disk.raw');
    const data = randomBytes(4 * MIB);
    writeFileSync(image, data);
    await using server = await nbdkit('--filter=delay', 'file', image, 'delay-read=20ms');
    await using client = await server.connect();
    let most = 0;
    const reads = Array.from({ length: 256 }, async (_, index) => {
      const at = ((index * 37) % 256) * 16_384;
      const got = await client.read(at, 16_384);
      most = Math.max(most, client.bytesUnderWay);
      expect(got.equals(data.subarray(at, at + 16_384))).toBe(true);
    });
    await Promise.all(reads);
    expect(most).toBeGreaterThan(100 * 16_384);
    expect(client.bytesUnderWay).toBe(0);
  });

  it('keeps to the block sizes that the server insists on', async () => {
    await using server = await nbdkit(
      '--filter=blocksize-policy',
      'memory',
      'size=1M',
      'blocksize-minimum=4096',
      'blocksize-preferred=4096',
      'blocksize-maximum=65536',
      'blocksize-error-policy=error',
    );
    await using client = await server.connect();
    expect(client.export).toMatchObject({ minBlockBytes: 4096, maxBlockBytes: 65_536 });
    const data = randomBytes(MIB);
    await client.write(0, data);
    expect((await client.read(4096, MIB - 4096)).equals(data.subarray(4096))).toBe(true);
    await expect(client.read(512, 4096)).rejects.toMatchObject({ code: 'invalid_argument' });
    await expect(client.write(0, data.subarray(0, 1000))).rejects.toMatchObject({ code: 'invalid_argument' });
    expect((await client.read(0, 4096)).equals(data.subarray(0, 4096))).toBe(true);
  });

  it('never sends more than 32 MiB at a time', async () => {
    await using server = await nbdkit('memory', 'size=100M');
    await using client = await server.connect();
    const data = randomBytes(80 * MIB);
    await client.write(7, data);
    expect((await client.read(7, data.length)).equals(data)).toBe(true);
  });

  it.each([
    [-1, 1],
    [0, 0],
    [0, MIB + 1],
    [MIB, 1],
    [0.5, 1],
    [0, Number.NaN],
  ])('refuses to read outside of the export: %p, %p', async (offset, length) => {
    await using server = await nbdkit('memory', 'size=1M');
    await using client = await server.connect();
    await expect(client.read(offset, length, Buffer.alloc(2 * MIB))).rejects.toMatchObject({
      code: 'invalid_argument',
    });
  });

  it('tells holes, zeros and data apart by block status', async () => {
    using folder = temporaryDirectory();
    const image = join(folder.path, 'disk.qcow2');
    await qemuImg('create', '-q', '-f', 'qcow2', image, '10M');
    await using server = await qemuNbd(image);
    await using client = await server.connect({ blockStatus: true });
    await client.write(MIB, randomBytes(MIB));
    await client.writeZeroes(4 * MIB, MIB);
    const status = await client.blockStatus(0, 10 * MIB);
    const data = status.filter((extent) => !extent.zero);
    expect(data).toEqual([{ offset: MIB, length: MIB, hole: false, zero: false }]);
    expect(status.reduce((sum, extent) => sum + extent.length, 0)).toBe(10 * MIB);
    await using without = await server.connect();
    await expect(without.blockStatus(0, MIB)).rejects.toMatchObject({ code: 'nbd_refused' });
  });

  it('names an export that is not there', async () => {
    using folder = temporaryDirectory();
    const image = join(folder.path, 'disk.qcow2');
    await qemuImg('create', '-q', '-f', 'qcow2', image, '1M');
    await using server = await qemuNbd(image);
    await expect(probeExport(server.address, 'disc', { log })).rejects.toMatchObject({
      code: 'nbd_refused',
      message: expect.stringContaining("has no export 'disc'"),
    });
  });

  it('reports what the server could not do, and goes on', async () => {
    await using server = await nbdkit(
      '--filter=error',
      'memory',
      'size=1M',
      'error-pread=EIO',
      'error-pread-rate=1',
    );
    await using client = await server.connect();
    await expect(client.read(65_536, 512)).rejects.toMatchObject({
      code: 'nbd_read_failed',
      retryable: true,
      context: { offset: '65536', length: '512', error: 'EIO' },
    });
    await client.write(0, Buffer.alloc(512));
  });

  it('tells a full target from a broken one', async () => {
    const args = ['error-pwrite=ENOSPC', 'error-pwrite-rate=1', 'error-zero=EIO', 'error-zero-rate=1'];
    await using server = await nbdkit('--filter=error', 'memory', 'size=1M', ...args);
    await using client = await server.connect();
    await expect(client.write(512, Buffer.alloc(512))).rejects.toMatchObject({
      code: 'out_of_space',
      context: { offset: '512' },
    });
    await expect(client.writeZeroes(0, 512)).rejects.toMatchObject({ code: 'nbd_write_failed' });
  });

  it('says where it was when the server is killed, and that it was not asked to', async () => {
    await using server = await nbdkit('--filter=delay', 'memory', 'size=1M', 'delay-read=60');
    await using client = await server.connect();
    const reading = client.read(4096, 512);
    const also = client.read(8192, 512);
    process.kill(server.process.pid, 'SIGKILL');
    await expect(reading).rejects.toMatchObject({
      code: 'nbd_connection_lost',
      context: { offset: '4096', length: '512' },
    });
    await expect(also).rejects.toMatchObject({ code: 'nbd_connection_lost', context: { offset: '8192' } });
    expect(await client.lost).toMatchObject({ code: 'nbd_connection_lost' });
    await expect(client.read(0, 512)).rejects.toMatchObject({ code: 'nbd_connection_lost' });
  });

  it('is not "lost" when it is closed here', async () => {
    await using server = await nbdkit('memory', 'size=1M');
    const client = await server.connect();
    await client.read(0, 512);
    await client[Symbol.asyncDispose]();
    await client[Symbol.asyncDispose]();
    expect(await client.lost).toBeUndefined();
    await expect(client.read(0, 512)).rejects.toMatchObject({ code: 'nbd_connection_lost' });
  });

  it('says that nobody listens', async () => {
    const addresses = [
      { kind: 'unix' as const, path: '/nonexistent/nbd.sock' },
      { kind: 'tcp' as const, host: '127.0.0.1', port: 1 },
    ];
    for (const address of addresses) {
      await expect(probeExport(address, 'disk', { log })).rejects.toMatchObject({
        code: 'nbd_connection_lost',
        message: expect.stringContaining('cannot be reached'),
      });
    }
    const path = `/tmp/${'x'.repeat(103)}`;
    await expect(probeExport({ kind: 'unix', path }, 'disk', { log })).rejects.toMatchObject({
      code: 'invalid_argument',
    });
  });
});
