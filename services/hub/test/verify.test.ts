import { execFileSync } from 'node:child_process';
import { copyFileSync, renameSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import type { RestorePointRecord } from '@sendense/catalog';
import { QemuImg } from '@sendense/qemu';
import { runCommand, silentLogger as log } from '@sendense/runtime';
import { requires } from '@sendense/runtime/testing';
import { removePoint } from '../src/chains/remove-point.js';
import { flip, VerifiedChain } from './stage/verified-chain.js';

const MIB = 2 ** 20;
const KIB = 1024;

requires(
  describe,
  'qemu-nbd',
  'qemu-img',
  'qemu-io',
)('the verification of a restore point', () => {
  let chain: VerifiedChain;
  let stage: VerifiedChain['stage'];
  let vm: VerifiedChain['vm'];
  let full: RestorePointRecord;
  let middle: RestorePointRecord;
  let last: RestorePointRecord;

  beforeEach(async () => {
    chain = await VerifiedChain.create();
    ({ stage, vm, full, middle, last } = chain);
  });
  afterEach(() => chain[Symbol.asyncDispose]());

  it('passes on good chains, full and incremental, and says how far it is', async () => {
    for (const point of [full, middle, last])
      expect(await chain.verify(point)).toMatchObject({ full: true, findingCount: 0, findings: [] });
    const { blocksChecked } = await chain.verify(last);
    expect(blocksChecked).toBe(64 + 33);
    const progress: [number, number][] = [];
    await chain.verify(last, { onProgress: (done, total) => void progress.push([done, total]) });
    expect(progress.at(-1)).toEqual([6 * MIB + 512, 6 * MIB + 512]);
    expect(progress.map(([done]) => done)).toEqual(progress.map(([done]) => done).toSorted((a, b) => a - b));
  });

  it('finds a flipped byte of the full from an incremental, and names disk, offset and file', async () => {
    await flip(chain.imageOf(full), 256 * KIB + 77);
    expect(await chain.verify(last)).toMatchObject({
      findingCount: 1,
      findings: [
        {
          kind: 'content',
          disk: { key: 2000, number: 0 },
          offset: 256 * KIB,
          pointId: full.id,
          path: full.disks[0]!.imagePath,
        },
      ],
    });
  });

  it('finds a flipped byte in an increment, in what was changed to zeros, and in the last, short block', async () => {
    await flip(chain.imageOf(middle), 512 * KIB);
    await flip(chain.imageOf(middle), 3 * MIB + 64 * KIB);
    await flip(chain.imageOf(full, 1), 2 * MIB + 511);
    const { findings } = await chain.verify(last);
    expect(findings.map(({ disk, offset, pointId }) => [disk?.key, offset, pointId])).toEqual([
      [2000, 512 * KIB, middle.id],
      [2000, 3 * MIB + 64 * KIB, middle.id],
      [2001, 2 * MIB, full.id],
    ]);
    expect(await chain.verify(full)).toMatchObject({ findingCount: 1 });
  });

  it('finds data where the disk had nothing, in the image that holds it', async () => {
    await flip(chain.imageOf(middle), 2 * MIB + 512 * KIB);
    expect((await chain.verify(last)).findings).toMatchObject([
      { offset: 2 * MIB + 512 * KIB, pointId: middle.id, detail: expect.stringContaining('had zeros') },
    ]);
  });

  it('does not read data when it is quick', async () => {
    await flip(chain.imageOf(full), 0);
    expect(
      await chain.verify(last, { quick: true, tools: { ...chain.tools(), qemuNbd: '/nonexistent' } }),
    ).toEqual({
      ...{ full: false, blocksChecked: 0, findingCount: 0, findings: [] },
    });
  });

  const damages: [string, () => void, object][] = [
    [
      'a truncated image',
      () => truncateSync(chain.imageOf(full), 400_000),
      { kind: 'image_damaged', disk: { key: 2000 } },
    ],
    ['an empty image', () => truncateSync(chain.imageOf(full), 0), { kind: 'image_invalid' }],
    ['a missing parent', () => rmSync(chain.imageOf(full)), { kind: 'image_missing' }],
    [
      'an image that is a link',
      () => {
        renameSync(chain.imageOf(full), `${chain.imageOf(full)}.away`);
        symlinkSync(`${chain.imageOf(full)}.away`, chain.imageOf(full));
      },
      { kind: 'image_missing' },
    ],
    ['missing hashes', () => rmSync(chain.hashesOf(full)), { kind: 'hashes_missing' }],
    [
      'altered hashes',
      () => writeFileSync(chain.hashesOf(full), Buffer.alloc(100, 1)),
      { kind: 'hashes_invalid', path: expect.stringMatching(/\.hashes$/) },
    ],
    [
      "another disk's hashes",
      () => copyFileSync(chain.hashesOf(full, 1), chain.hashesOf(full)),
      { kind: 'hashes_invalid' },
    ],
  ];
  it.each(damages)(
    'finds %s, quickly, and blames the file that is broken alone',
    async (_, damage, finding) => {
      damage();
      const { findings } = await chain.verify(last, { quick: true });
      expect(findings).toMatchObject([{ pointId: full.id, ...finding }]);
      expect((await chain.verify(last)).findings).toMatchObject([{ pointId: full.id, ...finding }]);
    },
  );

  it('finds an increment that stands on another image than it should', async () => {
    await stage.images.create(stage.at(`${vm.contextId}/disk-0/other.qcow2`), { sizeBytes: 4 * MIB });
    const command = [
      'rebase',
      '-u',
      '-f',
      'qcow2',
      '-b',
      'other.qcow2',
      '-F',
      'qcow2',
      chain.imageOf(middle),
    ];
    await runCommand('qemu-img', command, { code: 'process_failed', what: 'rebasing' });
    expect((await chain.verify(last, { quick: true })).findings).toMatchObject([
      { kind: 'wrong_parent', pointId: middle.id, detail: expect.stringContaining('other.qcow2') },
    ]);
  });

  it('finds the full of another VM in place of its own, although every file is sound', async () => {
    const other = stage.vm('pgtest2', [4 * MIB, 2 * MIB + 512]);
    other.disks[0]!.fill(0, MIB, 'other');
    const foreign = await other.seal('full');
    renameSync(chain.imageOf(full), `${chain.imageOf(full)}.swap`);
    renameSync(chain.imageOf(foreign), chain.imageOf(full));
    renameSync(`${chain.imageOf(full)}.swap`, chain.imageOf(foreign));
    expect(await chain.verify(last, { quick: true })).toMatchObject({ findingCount: 0 });
    const { findings, findingCount } = await chain.verify(last);
    expect(findings[0]).toMatchObject({ kind: 'content', disk: { key: 2000 }, offset: 0, pointId: full.id });
    // All but the first MiB's changed block, and what the other VM has not.
    expect(findingCount).toBe(15 + 2);
    expect(findings).toHaveLength(17);
  });

  it('tells the first 20 findings and counts the rest', async () => {
    await stage.images.create(`${chain.imageOf(full)}.zeros`, { sizeBytes: 4 * MIB });
    renameSync(`${chain.imageOf(full)}.zeros`, chain.imageOf(full));
    const { disks } = vm;
    disks[0]!.fill(0, 4 * MIB, 'everything');
    const everything = await vm.seal('full');
    await stage.images.create(`${chain.imageOf(everything)}.zeros`, { sizeBytes: 4 * MIB });
    renameSync(`${chain.imageOf(everything)}.zeros`, chain.imageOf(everything));
    expect(await chain.verify(everything)).toMatchObject({ findingCount: 64, findings: { length: 20 } });
  });

  it('needs the manifest, and that it says what the catalogue says', async () => {
    rmSync(stage.at(last.manifestPath));
    expect((await chain.verify(last, { quick: true })).findings).toMatchObject([{ kind: 'manifest' }]);
    copyFileSync(stage.at(middle.manifestPath), stage.at(last.manifestPath));
    expect((await chain.verify(last, { quick: true })).findings).toMatchObject([
      { kind: 'manifest', detail: expect.stringContaining(middle.id) },
    ]);
  });

  it('says in a few words what is not there', async () => {
    const { hashesPath, imagePath } = middle.disks[0]!;
    for (const path of [hashesPath!, imagePath, last.manifestPath])
      renameSync(stage.at(path), `${stage.at(path)}.away`);
    const { findings } = await chain.verify(last, { quick: true });
    const missing = findings.filter(({ kind }) => kind !== 'image_invalid');
    expect(missing.map(({ path, detail }) => [path, detail])).toEqual([
      [last.manifestPath, 'it is not there'],
      [imagePath, 'it is not there'],
      [hashesPath, 'it is not there'],
    ]);
  });

  it('is not held up by a pipe in place of the manifest', async () => {
    renameSync(stage.at(last.manifestPath), `${stage.at(last.manifestPath)}.away`);
    execFileSync('mkfifo', [stage.at(last.manifestPath)]);
    const { findings } = await chain.verify(last, { quick: true });
    expect(findings.map(({ path, detail }) => [path, detail])).toEqual([
      [last.manifestPath, 'it is not a regular file'],
    ]);
  });

  it('takes a removal that is not finished for no damage, and says what to do', async () => {
    const stop = new Error('the repository is away');
    const onStep = (step: string) => {
      if (step === 'remove manifest') throw stop;
    };
    const { catalog, repositories } = stage;
    const ports = { catalog, repositories, images: new QemuImg() };
    const work = { signal: new AbortController().signal, log };
    const nothing = { progress: () => undefined, commit: () => undefined };
    const removal = removePoint(middle.id, ports, { ...work, ...nothing, onStep });
    await expect(removal).rejects.toMatchObject({ cause: { cause: stop } });
    await expect(chain.run(last)).rejects.toMatchObject({
      code: 'chain_busy',
      message: expect.stringContaining(`sendense restore-point delete ${middle.id}`),
    });
    expect(await catalog.restorePoints.get(last.id)).toMatchObject({ suspect: false });
    await removePoint(middle.id, ports, { ...work, ...nothing });
    expect(await chain.run(last)).toMatchObject({ outcome: 'passed' });
  });
});
