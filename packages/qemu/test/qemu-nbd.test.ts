import { chmodSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { SendenseError } from '@sendense/core';
import { processesOwnedBy, silentLogger as log } from '@sendense/runtime';
import { requires, temporaryDirectory } from '@sendense/runtime/testing';
import { QemuImg, QemuNbd, type QemuNbdOptions } from '../src/index.js';
import { freePort, nbdinfo, ownerOf, probe, run, uriOf } from './tools.js';

const MIB = 1024 * 1024;
const image = new QemuImg();

async function options(folder: string, name: string): Promise<QemuNbdOptions> {
  const imagePath = join(folder, `${name}.qcow2`);
  await image.create(imagePath, { sizeBytes: 10 * MIB });
  return {
    imagePath,
    exportName: name,
    port: await freePort(),
    expectedSizeBytes: 10 * MIB,
    connections: 4,
    owner: ownerOf(name),
    log,
    probe,
  };
}

function script(path: string, text: string): string {
  writeFileSync(path, `#!/bin/bash\n${text}\n`);
  chmodSync(path, 0o755);
  return path;
}

requires(
  describe,
  'qemu-nbd',
  'qemu-img',
  'nbdinfo',
  'nbdcopy',
)('qemu-nbd', () => {
  it('serves the image under its name to several connections, and has everything on disk when it is stopped', async () => {
    using folder = temporaryDirectory();
    const wanted = await options(folder.path, 'pgtest1-disk0');
    await using nbd = await QemuNbd.start(wanted);
    const address = { kind: 'tcp', host: '127.0.0.1', port: wanted.port } as const;
    const shown = await nbdinfo(address, 'pgtest1-disk0');
    expect(shown).toMatchObject({ can_multi_conn: true, is_read_only: false, 'export-size': 10 * MIB });
    const source = join(folder.path, 'source');
    writeFileSync(source, Buffer.alloc(10 * MIB, 'sendense'));
    await run('nbdcopy', [source, uriOf(address, 'pgtest1-disk0')]);
    await nbd.stop();
    expect(processesOwnedBy(wanted.owner)).toEqual([]);
    await image.check(wanted.imagePath);
    const compared = await image.compare(source, wanted.imagePath, { formatA: 'raw', formatB: 'qcow2' });
    expect(compared.identical).toBe(true);
    await nbd.stop();
  });

  it('is not reachable from other addresses', async () => {
    using folder = temporaryDirectory();
    const wanted = await options(folder.path, 'loopback');
    await using nbd = await QemuNbd.start(wanted);
    const { stdout } = await run('ss', ['-Hltn', `sport = :${nbd.port}`]);
    expect(stdout.trim().split('\n')).toHaveLength(1);
    expect(stdout).toContain(`127.0.0.1:${nbd.port}`);
  });

  it('stops cleanly while a client is connected', async () => {
    using folder = temporaryDirectory();
    const wanted = await options(folder.path, 'busy');
    await using nbd = await QemuNbd.start(wanted);
    const { connect } = await import('node:net');
    const client = connect({ host: '127.0.0.1', port: wanted.port });
    client.on('error', () => {});
    await new Promise((resolve) => {
      client.once('data', resolve);
    });
    await nbd.stop();
    client.destroy();
    await image.check(wanted.imagePath);
  });

  it('names the process that holds its port', async () => {
    using folder = temporaryDirectory();
    const wanted = await options(folder.path, 'taken');
    const stranger = createServer();
    await new Promise<void>((resolve) => {
      stranger.listen(wanted.port, '0.0.0.0', resolve);
    });
    try {
      await expect(QemuNbd.start(wanted)).rejects.toMatchObject({
        code: 'port_in_use',
        message: expect.stringContaining(`process ${process.pid} (`),
      });
    } finally {
      await new Promise((resolve) => {
        stranger.close(resolve);
      });
    }
    expect(processesOwnedBy(wanted.owner)).toEqual([]);
  });

  it('does not take a stranger that came between for its own', async () => {
    using folder = temporaryDirectory();
    const wanted = await options(folder.path, 'imposter');
    // Answers with the right name and size, but it is not the process that was started.
    const command = script(
      join(folder.path, 'imposter'),
      'qemu-nbd "$@" & trap "kill %1; exit 0" TERM; wait',
    );
    await expect(QemuNbd.start({ ...wanted, command })).rejects.toMatchObject({ code: 'port_in_use' });
    expect(processesOwnedBy(wanted.owner)).toEqual([]);
  });

  it('says what qemu-nbd said when it ends at once', async () => {
    using folder = temporaryDirectory();
    const wanted = await options(folder.path, 'dying');
    await expect(
      QemuNbd.start({ ...wanted, imagePath: join(folder.path, 'none.qcow2') }),
    ).rejects.toMatchObject({
      code: 'qemu_nbd_failed',
      message: expect.stringMatching(/exit code 1.*none\.qcow2.*No such file or directory/),
    });
    writeFileSync(join(folder.path, 'text.qcow2'), 'no image');
    await expect(
      QemuNbd.start({ ...wanted, imagePath: join(folder.path, 'text.qcow2') }),
    ).rejects.toMatchObject({
      code: 'qemu_nbd_failed',
      message: expect.stringContaining('not in qcow2 format'),
    });
    expect(processesOwnedBy(wanted.owner)).toEqual([]);
  });

  it('names a missing binary and how to get it', async () => {
    using folder = temporaryDirectory();
    const wanted = await options(folder.path, 'missing');
    await expect(QemuNbd.start({ ...wanted, command: '/no/qemu-nbd' })).rejects.toMatchObject({
      code: 'qemu_nbd_missing',
      message: expect.stringContaining('qemu-utils'),
    });
  });

  it('gives up on one that never answers, and ends it', async () => {
    using folder = temporaryDirectory();
    const wanted = await options(folder.path, 'mute');
    const command = script(join(folder.path, 'mute'), 'echo thinking >&2; exec sleep 600');
    await expect(QemuNbd.start({ ...wanted, command, readyTimeoutMs: 3000 })).rejects.toMatchObject({
      code: 'qemu_nbd_failed',
      message: expect.stringMatching(/did not answer within 3 s.*stderr: thinking/),
    });
    expect(processesOwnedBy(wanted.owner)).toEqual([]);
  });

  it('refuses an image of another size', async () => {
    using folder = temporaryDirectory();
    const wanted = await options(folder.path, 'small');
    await expect(QemuNbd.start({ ...wanted, expectedSizeBytes: 11 * MIB })).rejects.toMatchObject({
      code: 'disk_size_mismatch',
      context: { expected_bytes: String(11 * MIB), found_bytes: String(10 * MIB) },
    });
    expect(processesOwnedBy(wanted.owner)).toEqual([]);
  });

  it('leaves nothing when it is cancelled before or while it starts', async () => {
    using folder = temporaryDirectory();
    const wanted = await options(folder.path, 'cancelled');
    await expect(QemuNbd.start({ ...wanted, signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'cancelled',
    });
    const stop = new AbortController();
    const reason = new SendenseError('cancelled', 'the operator asked');
    const command = script(join(folder.path, 'slow'), 'exec sleep 600');
    const starting = QemuNbd.start({
      ...wanted,
      command,
      signal: stop.signal,
      probe: async () => {
        stop.abort(reason);
        throw new Error('not yet');
      },
    });
    await expect(starting).rejects.toBe(reason);
    expect(processesOwnedBy(wanted.owner)).toEqual([]);
  });

  it('reports that it died later, however it died', async () => {
    using folder = temporaryDirectory();
    for (const signal of ['SIGKILL', 'SIGTERM'] as const) {
      const wanted = await options(folder.path, `victim-${signal}`);
      await using nbd = await QemuNbd.start(wanted);
      process.kill(nbd.pid, signal);
      const error = await nbd.died;
      expect(error).toMatchObject({ code: 'qemu_nbd_died', context: { pid: String(nbd.pid) } });
      expect(error.message).toContain(`victim-${signal}`);
      await expect(nbd.stop()).rejects.toMatchObject({ code: 'qemu_nbd_died' });
    }
  });

  it('can be stopped when its files have odd names', async () => {
    using folder = temporaryDirectory();
    for (const name of ['a b', "it's", 'a"b', '-rf', 'nbd:x:1', 'a,b=c', '100%', '🙂', 'zeile\nzwei']) {
      const wanted = await options(folder.path, name);
      await using nbd = await QemuNbd.start({ ...wanted, exportName: 'odd' });
      await nbd.stop();
    }
  });
});
