import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { requires, temporaryDirectory } from '@sendense/runtime/testing';
import { QemuImg } from '../src/index.js';
import { run } from './tools.js';

const MIB = 1024 * 1024;
const image = new QemuImg();

async function write(path: string, offset: number, length: number, pattern: number) {
  await run('qemu-io', ['-f', 'qcow2', '-c', `write -P ${pattern} ${offset} ${length}`, path]);
}

requires(
  describe,
  'qemu-img',
  'qemu-io',
)('qemu-img', () => {
  it('creates an image of exactly this size', async () => {
    using folder = temporaryDirectory();
    for (const sizeBytes of [512, 65_536 + 512, 5 * MIB + 1536, 2 ** 40]) {
      const path = join(folder.path, `${sizeBytes}.qcow2`);
      await image.create(path, { sizeBytes });
      expect(await image.info(path)).toMatchObject({
        path,
        format: 'qcow2',
        virtualSizeBytes: sizeBytes,
        clusterBytes: 65_536,
        backingFile: undefined,
        dirty: false,
        corrupt: false,
      });
    }
    await expect(image.create(join(folder.path, 'odd'), { sizeBytes: 1000 })).rejects.toMatchObject({
      code: 'invalid_argument',
    });
  });

  it('stores the backing file relative, so that a repository can be moved', async () => {
    using folder = temporaryDirectory();
    const old = join(folder.path, 'repo', 'ctx', 'disk-0');
    mkdirSync(old, { recursive: true });
    const base = join(old, 'base.qcow2');
    const overlay = join(old, 'overlay.qcow2');
    await image.create(base, { sizeBytes: MIB });
    await write(base, 0, 65_536, 7);
    await image.create(overlay, { sizeBytes: MIB, backing: { path: base, format: 'qcow2' } });
    await write(overlay, 131_072, 65_536, 8);
    expect((await image.info(overlay)).backingFile).toBe('base.qcow2');
    renameSync(join(folder.path, 'repo'), join(folder.path, 'moved'));
    const chain = await image.backingChain(join(folder.path, 'moved', 'ctx', 'disk-0', 'overlay.qcow2'));
    expect(chain.map((info) => info.path)).toEqual(
      ['overlay', 'base'].map((name) => join(folder.path, 'moved', 'ctx', 'disk-0', `${name}.qcow2`)),
    );
    expect(chain[0]).toMatchObject({ backingFormat: 'qcow2', backingPath: chain[1]?.path });
    const map = await image.map(chain[0]!.path);
    expect(map.filter((extent) => extent.depth === 0 && extent.data)).toEqual([
      expect.objectContaining({ offset: 131_072, length: 65_536, zero: false }),
    ]);
    expect(map.find((extent) => extent.offset === 0)).toMatchObject({ depth: 1, data: true });
  });

  it('handles names that look like options, protocols or lists', async () => {
    using folder = temporaryDirectory();
    for (const name of ['-o', 'nbd:x', 'a,b', 'it\'s "x"', 'json:{}', '🙂\n']) {
      const base = join(folder.path, `${name} base`);
      const overlay = join(folder.path, `${name} overlay`);
      await image.create(base, { sizeBytes: MIB });
      await image.create(overlay, { sizeBytes: MIB, backing: { path: base, format: 'qcow2' } });
      await image.check(overlay);
      expect((await image.backingChain(overlay)).map((info) => info.path)).toEqual([overlay, base]);
    }
  });

  it('says why an image cannot be created, and never overwrites one', async () => {
    using folder = temporaryDirectory();
    const path = join(folder.path, 'a.qcow2');
    writeFileSync(path, 'precious');
    const create = (where: string) => image.create(where, { sizeBytes: MIB });
    await expect(create(path)).rejects.toMatchObject({
      code: 'target_create_failed',
      message: expect.stringContaining('is there already'),
    });
    expect(readFileSync(path, 'utf8')).toBe('precious');
    await expect(create(join(folder.path, 'none', 'a.qcow2'))).rejects.toMatchObject({
      code: 'target_create_failed',
      message: expect.stringContaining('folder does not exist'),
    });
    await expect(create(join(path, 'a.qcow2'))).rejects.toMatchObject({ code: 'target_create_failed' });
    await expect(create('/proc/a.qcow2')).rejects.toMatchObject({ code: 'target_create_failed' });
    await expect(create('relative.qcow2')).rejects.toMatchObject({ code: 'invalid_argument' });
    const overlay = join(folder.path, 'overlay.qcow2');
    const backing = { path: join(folder.path, 'gone.qcow2'), format: 'qcow2' } as const;
    await expect(image.create(overlay, { sizeBytes: MIB, backing })).rejects.toMatchObject({
      code: 'target_create_failed',
      message: expect.stringContaining('gone.qcow2'),
    });
    expect(existsSync(overlay)).toBe(false);
    await expect(
      new QemuImg({ command: '/no/qemu-img' }).create(overlay, { sizeBytes: MIB }),
    ).rejects.toMatchObject({ code: 'qemu_img_failed', message: expect.stringContaining('qemu-utils') });
    expect(existsSync(overlay)).toBe(false);
  });

  it('finds a damaged image', async () => {
    using folder = temporaryDirectory();
    const path = join(folder.path, 'a.qcow2');
    await image.create(path, { sizeBytes: 10 * MIB });
    await write(path, 0, 5 * MIB, 7);
    await image.check(path);
    const handle = await open(path, 'r+');
    // Wipes the refcounts.
    await handle.write(Buffer.alloc(131_072), 0, 131_072, 65_536);
    await handle.close();
    await expect(image.check(path)).rejects.toMatchObject({ code: 'image_check_failed', context: { path } });
    writeFileSync(path, 'no image');
    await expect(image.check(path)).rejects.toMatchObject({ code: 'qemu_img_failed' });
    await expect(image.info(path)).rejects.toMatchObject({ code: 'qemu_img_failed' });
  });

  it('tells equal content from different content', async () => {
    using folder = temporaryDirectory();
    const raw = join(folder.path, 'raw');
    const path = join(folder.path, 'a.qcow2');
    writeFileSync(raw, Buffer.alloc(MIB));
    await image.create(path, { sizeBytes: MIB });
    const formats = { formatA: 'raw', formatB: 'qcow2' } as const;
    expect((await image.compare(raw, path, formats)).identical).toBe(true);
    await write(path, 512_000, 512, 1);
    expect(await image.compare(raw, path, formats)).toEqual({
      identical: false,
      detail: expect.stringContaining('512000'),
    });
    await expect(image.compare(raw, join(folder.path, 'none'), formats)).rejects.toMatchObject({
      code: 'qemu_img_failed',
    });
  });

  it('can be cancelled', async () => {
    using folder = temporaryDirectory();
    const path = join(folder.path, 'a.qcow2');
    await image.create(path, { sizeBytes: MIB });
    await expect(image.check(path, { signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'cancelled',
    });
  });
});
