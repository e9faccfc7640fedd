import { chmodSync, existsSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { SendenseError } from '@sendense/core';
import { processesOwnedBy, silentLogger as log } from '@sendense/runtime';
import { requires, temporaryDirectory } from '@sendense/runtime/testing';
import { QemuImg, startReadOnlyExport, type ReadOnlyExportOptions } from '../src/index.js';
import { nbdinfo, ownerOf, probe, run, uriOf } from './tools.js';

const MIB = 1024 * 1024;
const image = new QemuImg();

/** A full and an overlay, and what is needed to serve the overlay. */
async function served(folder: string, name: string): Promise<ReadOnlyExportOptions & { base: string }> {
  const base = join(folder, `${name}-base.qcow2`);
  const imagePath = join(folder, `${name}.qcow2`);
  await image.create(base, { sizeBytes: 10 * MIB });
  await run('qemu-io', ['-f', 'qcow2', '-c', `write -P 1 0 ${2 * MIB}`, base]);
  await image.create(imagePath, { sizeBytes: 10 * MIB, backing: { path: base, format: 'qcow2' } });
  await run('qemu-io', ['-f', 'qcow2', '-c', `write -P 2 ${MIB} ${2 * MIB}`, imagePath]);
  return {
    base,
    imagePath,
    exportName: name,
    socketPath: join(folder, `${name}.sock`),
    expectedSizeBytes: 10 * MIB,
    owner: ownerOf(name),
    log,
    probe,
  };
}

requires(
  describe,
  'qemu-nbd',
  'qemu-img',
  'qemu-io',
  'nbdinfo',
  'nbdcopy',
)('a read-only export', () => {
  it('shows the chain as a restore would read it, and lets nobody write', async () => {
    using folder = temporaryDirectory();
    const options = await served(folder.path, 'chain');
    // A socket that a killed one left behind is no obstacle.
    writeFileSync(options.socketPath, '');
    {
      await using server = await startReadOnlyExport(options);
      expect(await nbdinfo(server.address, 'chain')).toMatchObject({
        is_read_only: true,
        can_multi_conn: true,
        'export-size': 10 * MIB,
      });
      const copy = join(folder.path, 'copy.raw');
      await run('nbdcopy', [uriOf(server.address, 'chain'), copy]);
      const compared = await image.compare(copy, options.imagePath, { formatA: 'raw', formatB: 'qcow2' });
      expect(compared.identical).toBe(true);
      await expect(run('qemu-io', ['-f', 'qcow2', '-c', 'write 0 512', options.base])).rejects.toThrow(
        /lock/,
      );
    }
    expect(processesOwnedBy(options.owner)).toEqual([]);
    expect(existsSync(options.socketPath)).toBe(false);
  });

  it('may be had twice of one chain', async () => {
    using folder = temporaryDirectory();
    const options = await served(folder.path, 'twice');
    await using one = await startReadOnlyExport(options);
    await using other = await startReadOnlyExport({ ...options, socketPath: `${options.socketPath}2` });
    expect(one.pid).not.toBe(other.pid);
  });

  it('is refused for a chain with a piece missing, and leaves nothing', async () => {
    using folder = temporaryDirectory();
    const options = await served(folder.path, 'broken');
    rmSync(options.base);
    await expect(startReadOnlyExport(options)).rejects.toMatchObject({
      code: 'qemu_nbd_failed',
      message: expect.stringMatching(/broken-base\.qcow2.*No such file/),
      context: { path: options.imagePath },
    });
    expect(processesOwnedBy(options.owner)).toEqual([]);
  });

  it('is refused for an image of another size, a missing binary, a relative or overlong path', async () => {
    using folder = temporaryDirectory();
    const options = await served(folder.path, 'wrong');
    const start = async (wrong: Partial<ReadOnlyExportOptions>) =>
      startReadOnlyExport({ ...options, ...wrong });
    await expect(start({ expectedSizeBytes: 11 * MIB })).rejects.toMatchObject({
      code: 'disk_size_mismatch',
    });
    await expect(start({ command: '/no/qemu-nbd' })).rejects.toMatchObject({ code: 'qemu_nbd_missing' });
    await expect(start({ imagePath: 'x.qcow2' })).rejects.toMatchObject({ code: 'invalid_argument' });
    await expect(start({ socketPath: `/${'x'.repeat(107)}` })).rejects.toMatchObject({
      code: 'invalid_argument',
    });
    expect(processesOwnedBy(options.owner)).toEqual([]);
  });

  it('that never answers is ended, with what it said', async () => {
    using folder = temporaryDirectory();
    const options = await served(folder.path, 'mute');
    const command = join(folder.path, 'mute');
    writeFileSync(command, '#!/bin/bash\necho thinking >&2; exec sleep 600\n');
    chmodSync(command, 0o755);
    await expect(startReadOnlyExport({ ...options, command, readyTimeoutMs: 3000 })).rejects.toMatchObject({
      code: 'qemu_nbd_failed',
      message: expect.stringMatching(/did not answer within 3 s.*thinking/),
    });
    const reason = new SendenseError('cancelled', 'the operator asked');
    await expect(startReadOnlyExport({ ...options, signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    expect(processesOwnedBy(options.owner)).toEqual([]);
  });

  it('reports that it died', async () => {
    using folder = temporaryDirectory();
    const options = await served(folder.path, 'victim');
    await using server = await startReadOnlyExport(options);
    process.kill(server.pid, 'SIGKILL');
    expect(await server.died).toMatchObject({
      code: 'qemu_nbd_died',
      message: expect.stringContaining('victim'),
    });
  });
});
