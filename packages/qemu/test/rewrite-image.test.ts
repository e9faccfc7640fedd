import { chmodSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { SendenseError } from '@sendense/core';
import { processesOwnedBy } from '@sendense/runtime';
import { eventually, requires, temporaryDirectory } from '@sendense/runtime/testing';
import { QemuImg } from '../src/index.js';
import { ownerOf, run } from './tools.js';

const MIB = 1024 * 1024;
const SIZE = 64 * MIB;
const image = new QemuImg();

/** What a chain of images shows, kept beside it. */
class Chain {
  readonly paths: string[] = [];
  readonly contents: Buffer[] = [];

  constructor(readonly folder: string) {}

  /** A full, or an overlay on the last image, with these writes: `[offset, length, byte]`; byte 0 writes zeros. */
  async add(...writes: [number, number, number][]): Promise<string> {
    const path = join(this.folder, `point-${this.paths.length}.qcow2`);
    const below = this.paths.at(-1);
    await image.create(path, {
      sizeBytes: SIZE,
      ...(below ? { backing: { path: below, format: 'qcow2' as const } } : {}),
    });
    const content = Buffer.from(this.contents.at(-1) ?? Buffer.alloc(SIZE));
    const commands = writes.flatMap(([offset, length, byte]) => {
      content.fill(byte, offset, offset + length);
      return ['-c', byte === 0 ? `write -z ${offset} ${length}` : `write -P ${byte} ${offset} ${length}`];
    });
    if (commands.length > 0) await run('qemu-io', ['-f', 'qcow2', ...commands, path]);
    this.paths.push(path);
    this.contents.push(content);
    return path;
  }

  async expectShows(path: string, content: Buffer): Promise<void> {
    const raw = join(this.folder, 'expected.raw');
    writeFileSync(raw, content);
    const { identical, detail } = await image.compare(raw, path, { formatA: 'raw', formatB: 'qcow2' });
    expect({ identical, detail }).toMatchObject({ identical: true });
    await image.check(path);
  }
}

/** A full, and three increments: data on data, data on zeros, zeros on data, and what only the oldest holds. */
async function fourPoints(folder: string): Promise<Chain> {
  const chain = new Chain(folder);
  await chain.add([0, 24 * MIB, 1], [40 * MIB, MIB, 1]);
  await chain.add([4 * MIB, 4 * MIB, 2], [30 * MIB, MIB, 2], [16 * MIB, 2 * MIB, 0]);
  await chain.add([6 * MIB, 4 * MIB, 3], [30 * MIB, MIB / 2, 0], [17 * MIB, MIB, 3], [20 * MIB, MIB, 0]);
  await chain.add([7 * MIB, MIB, 4], [50 * MIB, 512, 4]);
  return chain;
}

/** A qemu-img that notes its process id, and takes its time over a commit. */
function slowQemuImg(folder: string): { command: string; pid: () => number } {
  const command = join(folder, 'slow-qemu-img');
  const noted = join(folder, 'pid');
  writeFileSync(
    command,
    `#!/bin/bash\necho $$ >'${noted}'\nif [ "$1" = commit ]; then shift; set -- commit -r 20M "$@"; fi\nexec qemu-img "$@"\n`,
  );
  chmodSync(command, 0o755);
  return { command, pid: () => Number(readFileSync(noted, 'utf8')) };
}

const describeWith = requires(describe, 'qemu-img', 'qemu-io');

describeWith('committing an overlay', () => {
  it('makes its backing file show the same, and keeps the overlay whole', async () => {
    using folder = temporaryDirectory();
    const chain = await fourPoints(folder.path);
    const [, parent, child] = chain.paths as [string, string, string];
    const percents: number[] = [];
    await image.commit(child, { onProgress: (percent) => percents.push(percent) });
    await chain.expectShows(parent, chain.contents[2]!);
    await chain.expectShows(child, chain.contents[2]!);
    expect((await image.info(child)).backingPath).toBe(parent);
    expect((await image.map(child)).some(({ depth, data }) => depth === 0 && data)).toBe(true);
    expect(percents.at(-1)).toBe(100);
    expect(percents).toEqual(percents.toSorted((a, b) => a - b));
  });

  it('and renaming its backing file over it takes the point in between out of the chain', async () => {
    using folder = temporaryDirectory();
    for (const removed of [0, 1, 2]) {
      const chain = await fourPoints(folder.path);
      const [parent, child] = [chain.paths[removed]!, chain.paths[removed + 1]!];
      await image.commit(child);
      renameSync(parent, child);
      for (const [index, path] of chain.paths.entries())
        if (index > removed) await chain.expectShows(path, chain.contents[index]!);
      const rest = chain.paths.toSpliced(removed, 1).toReversed();
      expect((await image.backingChain(rest[0]!)).map(({ path }) => path)).toEqual(rest);
      for (const path of rest) renameSync(path, `${path}.old-${removed}`);
    }
  });

  it('that is killed in the middle is repaired by another commit', async () => {
    using folder = temporaryDirectory();
    const chain = new Chain(folder.path);
    await chain.add([0, SIZE, 1]);
    await chain.add([0, 40 * MIB, 2], [48 * MIB, 4 * MIB, 0]);
    await chain.add([MIB, MIB, 3]);
    const [parent, child, grandchild] = chain.paths as [string, string, string];
    const { command, pid } = slowQemuImg(folder.path);
    const percents: number[] = [];
    const killed = new QemuImg({ command }).commit(child, {
      onProgress: (percent) => {
        percents.push(percent);
        if (percent > 10) process.kill(pid(), 'SIGKILL');
      },
    });
    await expect(killed).rejects.toMatchObject({
      code: 'qemu_img_failed',
      message: expect.stringContaining('SIGKILL'),
      context: { path: child },
    });
    expect(percents.at(-1)).toBeLessThan(100);
    // What counts until then is the overlay, and it lost nothing.
    await chain.expectShows(child, chain.contents[1]!);
    await chain.expectShows(grandchild, chain.contents[2]!);
    await image.commit(child);
    renameSync(parent, child);
    await chain.expectShows(child, chain.contents[1]!);
    await chain.expectShows(grandchild, chain.contents[2]!);
  });

  it('can be cancelled, and the process is gone when that is answered', async () => {
    using folder = temporaryDirectory();
    const chain = new Chain(folder.path);
    await chain.add([0, SIZE, 1]);
    const child = await chain.add([0, 40 * MIB, 2]);
    const owner = ownerOf('commit');
    const { command } = slowQemuImg(folder.path);
    const slow = new QemuImg({ command, owner });
    const stop = new AbortController();
    const reason = new SendenseError('cancelled', 'the operator asked');
    const onProgress = () => stop.abort(reason);
    await expect(slow.commit(child, { signal: stop.signal, onProgress })).rejects.toBe(reason);
    expect(processesOwnedBy(owner)).toEqual([]);
    await chain.expectShows(child, chain.contents[1]!);
    await expect(slow.commit(child, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  });

  it('dies with the process that started it', async () => {
    using folder = temporaryDirectory();
    const chain = new Chain(folder.path);
    await chain.add([0, SIZE, 1]);
    const child = await chain.add([0, 40 * MIB, 2]);
    const { command } = slowQemuImg(folder.path);
    const owner = ownerOf('orphan');
    const script = join(folder.path, 'parent.mjs');
    writeFileSync(
      script,
      `import { QemuImg } from ${JSON.stringify(new URL('../src/index.js', import.meta.url).href)};
      const [command, owner, path] = process.argv.slice(2);
      await new QemuImg({ command, owner }).commit(path, { onProgress: () => process.kill(process.pid, 'SIGKILL') });`,
    );
    await expect(run(process.execPath, [script, command, owner, child])).rejects.toMatchObject({
      signal: 'SIGKILL',
    });
    await eventually('qemu-img is gone', () => processesOwnedBy(owner).length === 0);
    await chain.expectShows(child, chain.contents[1]!);
  });

  it('says what qemu-img said, and knows a full disk', async () => {
    using folder = temporaryDirectory();
    const chain = new Chain(folder.path);
    const full = await chain.add([0, MIB, 1]);
    await expect(image.commit(full)).rejects.toMatchObject({
      code: 'qemu_img_failed',
      message: expect.stringContaining('does not have a backing file'),
    });
    await expect(image.commit('relative')).rejects.toMatchObject({ code: 'invalid_argument' });
    await expect(new QemuImg({ command: '/no/qemu-img' }).commit(full)).rejects.toMatchObject({
      code: 'qemu_img_failed',
      message: expect.stringContaining('qemu-utils'),
    });
    // A limit on the size of files is not a full disk: qemu is told "File too large" for it. Its words are what counts.
    const command = join(folder.path, 'full-disk');
    writeFileSync(
      command,
      "#!/bin/bash\necho 'qemu-img: error while writing at byte 65536: No space left on device' >&2\nexit 1\n",
    );
    chmodSync(command, 0o755);
    await expect(new QemuImg({ command }).commit(full)).rejects.toMatchObject({
      code: 'out_of_space',
      context: { path: full },
    });
  });
});

describeWith('rebasing an overlay', () => {
  it('onto its grandparent takes over what lay in between', async () => {
    using folder = temporaryDirectory();
    const chain = await fourPoints(folder.path);
    const [grandparent, parent, child, grandchild] = chain.paths as [string, string, string, string];
    const percents: number[] = [];
    await image.rebase(child, {
      backing: { path: grandparent, format: 'qcow2' },
      unsafe: false,
      onProgress: (percent) => percents.push(percent),
    });
    renameSync(parent, `${parent}.removed`);
    expect(await image.info(child)).toMatchObject({ backingFile: 'point-0.qcow2', backingFormat: 'qcow2' });
    await chain.expectShows(child, chain.contents[2]!);
    await chain.expectShows(grandchild, chain.contents[3]!);
    expect(percents.at(-1)).toBe(100);
  });

  it('onto nothing makes it a full', async () => {
    using folder = temporaryDirectory();
    const chain = await fourPoints(folder.path);
    const [full, child] = chain.paths as [string, string];
    await image.rebase(child, { backing: undefined, unsafe: false });
    renameSync(full, `${full}.removed`);
    expect((await image.info(child)).backingFile).toBeUndefined();
    for (const index of [1, 2, 3]) await chain.expectShows(chain.paths[index]!, chain.contents[index]!);
  });

  it('that is killed in the middle is repaired by another one', async () => {
    using folder = temporaryDirectory();
    const chain = new Chain(folder.path);
    await chain.add([0, SIZE, 1]);
    await chain.add([0, SIZE, 2]);
    await chain.add([MIB, MIB, 3]);
    const [grandparent, parent, child] = chain.paths as [string, string, string];
    const { command, pid } = slowQemuImg(folder.path);
    const onto = { backing: { path: grandparent, format: 'qcow2' }, unsafe: false } as const;
    let killed = false;
    const onProgress = (percent: number) => {
      if (percent <= 5 || killed) return;
      killed = true;
      process.kill(pid(), 'SIGKILL');
    };
    await expect(new QemuImg({ command }).rebase(child, { ...onto, onProgress })).rejects.toMatchObject({
      code: 'qemu_img_failed',
    });
    expect((await image.info(child)).backingPath).toBe(parent);
    await chain.expectShows(child, chain.contents[2]!);
    await image.rebase(child, onto);
    renameSync(parent, `${parent}.removed`);
    await chain.expectShows(child, chain.contents[2]!);
  });

  it('onto nothing without reading makes what was never written read as zeros', async () => {
    using folder = temporaryDirectory();
    const chain = new Chain(folder.path);
    await chain.add([0, SIZE, 1]);
    const overlay = await chain.add([4 * MIB, MIB, 2], [8 * MIB, MIB, 0]);
    await image.rebase(overlay, { backing: undefined, unsafe: true });
    expect(await image.info(overlay)).toMatchObject({ backingFile: undefined, backingFormat: undefined });
    await chain.expectShows(overlay, Buffer.alloc(SIZE).fill(2, 4 * MIB, 5 * MIB));
  });

  it('says what qemu-img said about a backing file that is missing', async () => {
    using folder = temporaryDirectory();
    const chain = new Chain(folder.path);
    await chain.add([0, MIB, 1]);
    const child = await chain.add([0, MIB, 2]);
    const gone = join(folder.path, 'gone.qcow2');
    await expect(
      image.rebase(child, { backing: { path: gone, format: 'qcow2' }, unsafe: false }),
    ).rejects.toMatchObject({ code: 'qemu_img_failed', message: expect.stringContaining('gone.qcow2') });
    await chain.expectShows(child, chain.contents[1]!);
  });
});
