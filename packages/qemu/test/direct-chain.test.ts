import { closeSync, openSync, readFileSync, readSync, truncateSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { requires, temporaryDirectory } from '@sendense/runtime/testing';
import fc from 'fast-check';
import { DirectChain } from '../src/index.js';
import { run } from './tools.js';

const KIB = 1024;
const SECTOR = 512;
const PREALLOCATION = ',preallocation=metadata';

/** What a guest may do to a disk, in sectors; beyond the disk's end it is cut off. */
interface Step {
  readonly what: 'data' | 'zeros' | 'discard' | 'compressed';
  readonly at: number;
  readonly count: number;
  readonly pattern: number;
}

interface LayerPlan {
  readonly sectors: number;
  readonly clusterKib: number;
  readonly options: string;
  readonly steps: readonly Step[];
}

/** Makes the images, the oldest first. @returns their paths, the newest first */
async function makeChain(folder: string, layers: readonly LayerPlan[]): Promise<string[]> {
  const paths: string[] = [];
  for (const [index, { sectors, clusterKib, options, steps }] of layers.entries()) {
    const path = join(folder, `layer-${index}.qcow2`);
    const backing = index === 0 ? [] : ['-b', `layer-${index - 1}.qcow2`, '-F', 'qcow2'];
    // qemu does not lay out what a backing file may show.
    const layout = `cluster_size=${clusterKib * KIB}${index > 0 ? options.replace(PREALLOCATION, '') : options}`;
    await run('qemu-img', [
      ...['create', '-q', '-f', 'qcow2', ...backing],
      ...['-o', layout, path, String(sectors * SECTOR)],
    ]);
    const commands = steps.flatMap((step) => command(step, sectors, clusterKib * KIB));
    paths.unshift(path);
    // Without a command it would wait for some.
    if (commands.length === 0) continue;
    const all = commands.flatMap((one) => ['-c', one]);
    const io = run('qemu-io', ['-f', 'qcow2', '-d', 'unmap', ...all, path]);
    // What is there already cannot be compressed: then it is not.
    await io.catch((error: unknown) => {
      if (!steps.some(({ what }) => what === 'compressed')) throw error;
    });
  }
  return paths;
}

function command({ what, at, count, pattern }: Step, sectors: number, clusterBytes: number): string[] {
  const from = (at % sectors) * SECTOR;
  const length = Math.min(count * SECTOR, sectors * SECTOR - from);
  if (what === 'data') return [`write -P ${pattern} ${from} ${length}`];
  if (what === 'zeros') return [`write -z ${pattern % 2 === 0 ? '-u ' : ''}${from} ${length}`];
  if (what === 'discard') return [`discard ${from} ${length}`];
  const cluster = Math.floor(from / clusterBytes) * clusterBytes;
  return cluster + clusterBytes > sectors * SECTOR
    ? []
    : [`write -c -P ${pattern} ${cluster} ${clusterBytes}`];
}

/** What qemu makes of the chain. */
async function converted(newest: string): Promise<Buffer> {
  const raw = `${newest}.raw`;
  await run('qemu-img', ['convert', '-f', 'qcow2', '-O', 'raw', newest, raw]);
  return readFileSync(raw);
}

interface Reading {
  readonly content: Buffer;
  /** What only qemu could read. */
  readonly byQemu: number;
}

/** All of the disk, in reads of a length that fits nothing; qemu's part is taken from what qemu made of the chain. */
async function readAll(chain: DirectChain, expected: Buffer, readBytes: number, calls: { count: number }) {
  const content = Buffer.alloc(chain.sizeBytes, 0xee);
  for (let at = 0; at < content.length; at += readBytes)
    await chain.read(at, content.subarray(at, Math.min(at + readBytes, content.length)));
  for (let at = 0; at < content.length;) {
    for (const extent of await chain.extentsFrom(at)) {
      expect(extent.offset).toBe(at);
      at += extent.length;
      if (extent.kind === 'zero')
        expect(expected.subarray(extent.offset, at).equals(Buffer.alloc(extent.length))).toBe(true);
    }
  }
  return { content, byQemu: calls.count } satisfies Reading;
}

async function readDirectly(paths: readonly string[], readBytes = 100_000): Promise<Reading | string> {
  const expected = await converted(paths[0]!);
  const calls = { count: 0 };
  const opened = await DirectChain.open({
    paths,
    readByQemu: async (offset, into) => {
      calls.count++;
      expected.copy(into, 0, offset, offset + into.length);
      return Promise.resolve();
    },
  });
  if (typeof opened === 'string') return opened;
  await using chain = opened;
  const reading = await readAll(chain, expected, readBytes, calls);
  expect(reading.content.equals(expected)).toBe(true);
  return reading;
}

const plan = (sectors: number, steps: readonly Step[] = [], options = '', clusterKib = 64): LayerPlan => {
  return { sectors, clusterKib, options, steps };
};
const write = (at: number, count: number, pattern = 7): Step => ({ what: 'data', at, count, pattern });

const anyStep = (whats: readonly Step['what'][]) =>
  fc.record({
    what: fc.constantFrom(...whats),
    at: fc.nat(8000),
    count: fc.integer({ min: 1, max: 700 }),
    pattern: fc.integer({ min: 1, max: 255 }),
  });
const anyChain = (whats: readonly Step['what'][], options: readonly string[]) =>
  fc.array(
    fc.record({
      sectors: fc.integer({ min: 1, max: 6000 }),
      clusterKib: fc.constantFrom(0.5, 4, 64, 64),
      options: fc.constantFrom(...options),
      steps: fc.array(anyStep(whats), { maxLength: 12 }),
    }),
    { minLength: 1, maxLength: 5 },
  );

requires(
  describe,
  'qemu-img',
  'qemu-io',
)('reading a chain straight from its images', () => {
  it('shows what qemu shows, and needs no qemu for it, whatever lies over what, however long each image is', async () => {
    await fc.assert(
      fc.asyncProperty(
        anyChain(['data', 'data', 'zeros', 'discard'], ['', '', ',compat=0.10', PREALLOCATION]),
        fc.integer({ min: 512, max: 300_000 }),
        async (layers, readBytes) => {
          using folder = temporaryDirectory();
          const reading = await readDirectly(await makeChain(folder.path, layers), readBytes);
          if (typeof reading === 'string') throw new Error(reading);
          if (!layers.some(({ options }) => options.includes(PREALLOCATION))) expect(reading.byQemu).toBe(0);
        },
      ),
      { numRuns: 40 },
    );
  });

  it('shows what qemu shows where clusters are compressed, and leaves other formats of tables to qemu', async () => {
    await fc.assert(
      fc.asyncProperty(
        anyChain(
          ['data', 'zeros', 'compressed', 'compressed'],
          ['', ',compression_type=zstd', ',lazy_refcounts=on', ',extended_l2=on'],
        ).map((layers) => layers.map((layer) => ({ ...layer, clusterKib: 64 }))),
        async (layers) => {
          using folder = temporaryDirectory();
          const reading = await readDirectly(await makeChain(folder.path, layers));
          const subclusters = layers.some(({ options }) => options.includes('extended_l2'));
          expect(typeof reading === 'string').toBe(subclusters);
          if (typeof reading === 'string') expect(reading).toContain('incompatible bits 0x10');
        },
      ),
      { numRuns: 15 },
    );
  });

  it('reads a chain of 61 images, whose every part lies in another one', async () => {
    using folder = temporaryDirectory();
    const sectors = 61 * 300 + 1;
    const layers = Array.from({ length: 61 }, (_, index) =>
      plan(sectors, [write(index * 300, 500, index + 1)]),
    );
    layers[0] = plan(sectors, [write(0, sectors, 200)]);
    expect(await readDirectly(await makeChain(folder.path, layers), 1 << 20)).toMatchObject({ byQemu: 0 });
  });

  it('reads zeros where an image in the middle ends, whatever lies beneath', async () => {
    using folder = temporaryDirectory();
    const layers = [plan(4000, [write(0, 4000, 1)]), plan(1001, [write(10, 10, 2)]), plan(3001)];
    const reading = (await readDirectly(await makeChain(folder.path, layers))) as Reading;
    expect(reading.content.length).toBe(3001 * SECTOR);
    expect(reading.content[1001 * SECTOR - 1]).toBe(1);
    expect(reading.content[1001 * SECTOR]).toBe(0);
  });

  it('finds its way in disks that need more than one table of tables', async () => {
    using folder = temporaryDirectory();
    const sectors = (3 * 2 ** 30) / SECTOR + 3;
    const far = (2 ** 31 + 12_288) / SECTOR;
    const paths = await makeChain(folder.path, [
      plan(sectors, [write(far, 100, 3), write(sectors - 2, 2, 4)]),
      plan(sectors, [write(far + 50, 10, 5)]),
    ]);
    const opened = await DirectChain.open({
      paths,
      readByQemu: () => Promise.reject(new Error('no qemu')),
    });
    await using chain = opened as DirectChain;
    const data = Buffer.alloc(100 * SECTOR);
    await chain.read(far * SECTOR, data);
    const expected = Buffer.concat([
      Buffer.alloc(50 * SECTOR, 3),
      Buffer.alloc(10 * SECTOR, 5),
      Buffer.alloc(40 * SECTOR, 3),
    ]);
    expect(data.equals(expected)).toBe(true);
    const end = Buffer.alloc(3 * SECTOR);
    await chain.read((sectors - 3) * SECTOR, end);
    expect(end.equals(Buffer.concat([Buffer.alloc(SECTOR), Buffer.alloc(2 * SECTOR, 4)]))).toBe(true);
    await expect(chain.read((sectors - 1) * SECTOR, end)).rejects.toMatchObject({ code: 'invalid_argument' });
  });

  const odd: [string, string, (path: string) => unknown][] = [
    ['internal snapshots', 'internal snapshots', (path) => run('qemu-img', ['snapshot', '-c', 'one', path])],
    ['the mark of a crash', 'incompatible bits 0x1', (path) => setByte(path, 79, 1)],
    ['the mark of corruption', 'incompatible bits 0x2', (path) => setByte(path, 79, 2)],
    ['a feature of tomorrow', 'incompatible bits 0x80', (path) => setByte(path, 79, 0x80)],
    ['encryption', 'encrypted', (path) => setByte(path, 35, 2)],
    ['a header that makes no sense', 'no sense', (path) => setByte(path, 39, 0)],
    ['another format', 'no QCOW2', (path) => setByte(path, 0, 0)],
    ['an end within its metadata', 'ends within its metadata', (path) => truncateSync(path, 200)],
    ['nothing in it', 'ends within its metadata', (path) => truncateSync(path, 0)],
  ];
  it.each(odd)('leaves an image with %s to qemu', async (_, reason, make) => {
    using folder = temporaryDirectory();
    const paths = await makeChain(folder.path, [plan(1000, [write(0, 100)]), plan(1000, [write(50, 100)])]);
    await make(paths[1]!);
    const opened = await DirectChain.open({ paths, readByQemu: () => Promise.resolve() });
    expect(opened).toContain(reason);
    expect(opened).toContain(paths[1]);
  });

  it('leaves an image with an external data file to qemu', async () => {
    using folder = temporaryDirectory();
    const options = `,data_file=${join(folder.path, 'data')}`;
    const reading = await readDirectly(await makeChain(folder.path, [plan(1000, [write(0, 100)], options)]));
    expect(reading).toContain('incompatible bits 0x4');
  });

  it('leaves a chain whose images are not those that were named to qemu', async () => {
    using folder = temporaryDirectory();
    const [newest, middle, oldest] = (await makeChain(folder.path, [plan(1000), plan(1000), plan(1000)])) as [
      string,
      string,
      string,
    ];
    const open = async (...paths: string[]) =>
      DirectChain.open({ paths, readByQemu: () => Promise.resolve() });
    expect(await open(newest, oldest)).toContain(`builds on ${middle}, not on ${oldest}`);
    expect(await open(newest, middle)).toContain(`not on nothing`);
    await expect(open(newest, middle, join(folder.path, 'absent'))).resolves.toContain('not on');
    await expect(open(join(folder.path, 'absent'))).rejects.toMatchObject({ code: 'io_error' });
  });

  it('asks qemu what it means when the file ends before its data, or an entry is not as it should be', async () => {
    for (const damage of [
      (path: string) => truncateSync(path, 5 * 64 * KIB + 512),
      (path: string) => setByte(path, 4 * 64 * KIB + 6, 0x10),
      (path: string) => setByte(path, 4 * 64 * KIB, 0xbf),
      (path: string) => setByte(path, 3 * 64 * KIB + 6, 0x10),
    ]) {
      using folder = temporaryDirectory();
      const [path = ''] = await makeChain(folder.path, [plan(1000, [write(0, 1000)])]);
      damage(path);
      const asked: number[] = [];
      const opened = await DirectChain.open({
        paths: [path],
        readByQemu: (offset) => Promise.resolve(void asked.push(offset)),
      });
      await using chain = opened as DirectChain;
      await chain.read(0, Buffer.alloc(1000 * SECTOR));
      expect(asked[0]).toBe(0);
    }
  });
});

function setByte(path: string, offset: number, value: number): void {
  const file = openSync(path, 'r+');
  try {
    expect(readSync(file, Buffer.alloc(1), 0, 1, offset)).toBe(1);
    writeSync(file, Buffer.from([value]), 0, 1, offset);
  } finally {
    closeSync(file);
  }
}
