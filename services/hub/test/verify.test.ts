import { execFileSync } from 'node:child_process';
import {
  copyFileSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import type { RestorePointRecord } from '@sendense/catalog';
import { SendenseError } from '@sendense/core';
import { QemuImg } from '@sendense/qemu';
import { processesOwnedBy, runCommand, silentLogger as log } from '@sendense/runtime';
import { requires } from '@sendense/runtime/testing';
import { removePoint } from '../src/chains/remove-point.js';
import { verifyPoint, type VerifyRequest } from '../src/chains/verify-point.js';
import { verifyHandler, verifyTask } from '../src/chains/verify-task.js';
import type { TaskContext } from '../src/tasks/types.js';
import { ChainStage, type ChainVm } from './stage/chain-stage.js';

const MIB = 2 ** 20;
const KIB = 1024;
const OWNER = `verify-test-${process.pid}`;

requires(
  describe,
  'qemu-nbd',
  'qemu-img',
  'qemu-io',
)('the verification of a restore point', () => {
  let stage: ChainStage;
  let vm: ChainVm;
  let full: RestorePointRecord;
  let middle: RestorePointRecord;
  let last: RestorePointRecord;

  beforeEach(async () => {
    stage = await ChainStage.create();
    // The second disk ends in the middle of a block.
    vm = stage.vm('pgtest1', [4 * MIB, 2 * MIB + 512]);
    vm.disks[0]!.fill(0, MIB);
    vm.disks[0]!.fill(3 * MIB, 256 * KIB);
    vm.disks[1]!.fill(MIB, MIB + 512);
    full = await vm.seal('full');
    vm.disks[0]!.fill(512 * KIB, 64 * KIB, 'changed');
    vm.disks[0]!.zero(3 * MIB, 128 * KIB);
    middle = await vm.seal('incremental');
    vm.disks[0]!.fill(2 * MIB, 64 * KIB, 'new');
    last = await vm.seal('incremental');
  });
  afterEach(async () => {
    expect(processesOwnedBy(OWNER)).toEqual([]);
    expect(readdirSync(stage.runtimeDirectory)).toEqual([]);
    await stage[Symbol.asyncDispose]();
  });

  const tools = () => ({
    qemuImg: 'qemu-img',
    qemuNbd: 'qemu-nbd',
    runtimeDirectory: stage.runtimeDirectory,
    owner: OWNER,
  });
  const verify = async (point: RestorePointRecord, more: Partial<VerifyRequest> = {}) =>
    verifyPoint({
      ...{ repository: stage.repository, point, tools: tools(), log },
      ancestors: await stage.catalog.restorePoints.chain(point.id),
      ...{ quick: false, rateLimitBytesPerSecond: 0, signal: new AbortController().signal },
      ...more,
    });
  /** Runs the task as the runner would. */
  async function run(point: RestorePointRecord, o: { quick?: boolean; signal?: AbortSignal } = {}) {
    const request = verifyTask(point, {
      ...{ quick: o.quick ?? false, rateLimitBytesPerSecond: 0, requestedBy: 'test' },
    });
    const task = await stage.catalog.tasks.create(request);
    const context: TaskContext = {
      ...{ signal: o.signal ?? new AbortController().signal, log },
      ...{ progress: () => undefined, commit: () => undefined, soFar: (result) => void found.push(result) },
    };
    const { catalog, repositories } = stage;
    return verifyHandler({ catalog, repositories, tools: tools() }).run(task, context);
  }
  const found: object[] = [];
  const stateOf = async ({ id }: RestorePointRecord) => stage.catalog.restorePoints.get(id);
  const suspects = async () =>
    (await stage.catalog.restorePoints.ofContext(vm.contextId, stage.repository.id))
      .filter(({ suspect }) => suspect)
      .map(({ id }) => id)
      .toSorted();
  const imageOf = (point: RestorePointRecord, disk = 0) => stage.at(point.disks[disk]!.imagePath);
  const hashesOf = (point: RestorePointRecord, disk = 0) => stage.at(point.disks[disk]!.hashesPath!);

  /** Changes one byte of what a guest would read, by qemu, so that the image stays sound. */
  const flip = (image: string, offset: number) =>
    runCommand('qemu-io', ['-f', 'qcow2', '-c', `write -P 0x5a ${offset} 1`, image], {
      code: 'process_failed',
      what: 'flipping a byte',
    });

  it('passes on good chains, full and incremental, and says how far it is', async () => {
    for (const point of [full, middle, last])
      expect(await verify(point)).toMatchObject({ full: true, findingCount: 0, findings: [] });
    const { blocksChecked } = await verify(last);
    expect(blocksChecked).toBe(64 + 33);
    const progress: [number, number][] = [];
    await verify(last, { onProgress: (done, total) => void progress.push([done, total]) });
    expect(progress.at(-1)).toEqual([6 * MIB + 512, 6 * MIB + 512]);
    expect(progress.map(([done]) => done)).toEqual(progress.map(([done]) => done).toSorted((a, b) => a - b));
  });

  it('finds a flipped byte of the full from an incremental, and names disk, offset and file', async () => {
    await flip(imageOf(full), 256 * KIB + 77);
    expect(await verify(last)).toMatchObject({
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
    await flip(imageOf(middle), 512 * KIB);
    await flip(imageOf(middle), 3 * MIB + 64 * KIB);
    await flip(imageOf(full, 1), 2 * MIB + 511);
    const { findings } = await verify(last);
    expect(findings.map(({ disk, offset, pointId }) => [disk?.key, offset, pointId])).toEqual([
      [2000, 512 * KIB, middle.id],
      [2000, 3 * MIB + 64 * KIB, middle.id],
      [2001, 2 * MIB, full.id],
    ]);
    expect(await verify(full)).toMatchObject({ findingCount: 1 });
  });

  it('finds data where the disk had nothing, in the image that holds it', async () => {
    await flip(imageOf(middle), 2 * MIB + 512 * KIB);
    expect((await verify(last)).findings).toMatchObject([
      { offset: 2 * MIB + 512 * KIB, pointId: middle.id, detail: expect.stringContaining('had zeros') },
    ]);
  });

  it('does not read data when it is quick', async () => {
    await flip(imageOf(full), 0);
    expect(await verify(last, { quick: true, tools: { ...tools(), qemuNbd: '/nonexistent' } })).toEqual({
      ...{ full: false, blocksChecked: 0, findingCount: 0, findings: [] },
    });
  });

  const damages: [string, () => void, object][] = [
    [
      'a truncated image',
      () => truncateSync(imageOf(full), 400_000),
      { kind: 'image_damaged', disk: { key: 2000 } },
    ],
    ['an empty image', () => truncateSync(imageOf(full), 0), { kind: 'image_invalid' }],
    ['a missing parent', () => rmSync(imageOf(full)), { kind: 'image_missing' }],
    [
      'an image that is a link',
      () => {
        renameSync(imageOf(full), `${imageOf(full)}.away`);
        symlinkSync(`${imageOf(full)}.away`, imageOf(full));
      },
      { kind: 'image_missing' },
    ],
    ['missing hashes', () => rmSync(hashesOf(full)), { kind: 'hashes_missing' }],
    [
      'altered hashes',
      () => writeFileSync(hashesOf(full), Buffer.alloc(100, 1)),
      { kind: 'hashes_invalid', path: expect.stringMatching(/\.hashes$/) },
    ],
    [
      "another disk's hashes",
      () => copyFileSync(hashesOf(full, 1), hashesOf(full)),
      { kind: 'hashes_invalid' },
    ],
  ];
  it.each(damages)(
    'finds %s, quickly, and blames the file that is broken alone',
    async (_, damage, finding) => {
      damage();
      const { findings } = await verify(last, { quick: true });
      expect(findings).toMatchObject([{ pointId: full.id, ...finding }]);
      expect((await verify(last)).findings).toMatchObject([{ pointId: full.id, ...finding }]);
    },
  );

  it('finds an increment that stands on another image than it should', async () => {
    await stage.images.create(stage.at(`${vm.contextId}/disk-0/other.qcow2`), { sizeBytes: 4 * MIB });
    const command = ['rebase', '-u', '-f', 'qcow2', '-b', 'other.qcow2', '-F', 'qcow2', imageOf(middle)];
    await runCommand('qemu-img', command, { code: 'process_failed', what: 'rebasing' });
    expect((await verify(last, { quick: true })).findings).toMatchObject([
      { kind: 'wrong_parent', pointId: middle.id, detail: expect.stringContaining('other.qcow2') },
    ]);
  });

  it('finds the full of another VM in place of its own, although every file is sound', async () => {
    const other = stage.vm('pgtest2', [4 * MIB, 2 * MIB + 512]);
    other.disks[0]!.fill(0, MIB, 'other');
    const foreign = await other.seal('full');
    renameSync(imageOf(full), `${imageOf(full)}.swap`);
    renameSync(imageOf(foreign), imageOf(full));
    renameSync(`${imageOf(full)}.swap`, imageOf(foreign));
    expect(await verify(last, { quick: true })).toMatchObject({ findingCount: 0 });
    const { findings, findingCount } = await verify(last);
    expect(findings[0]).toMatchObject({ kind: 'content', disk: { key: 2000 }, offset: 0, pointId: full.id });
    // All but the first MiB's changed block, and what the other VM has not.
    expect(findingCount).toBe(15 + 2);
    expect(findings).toHaveLength(17);
  });

  it('tells the first 20 findings and counts the rest', async () => {
    await stage.images.create(`${imageOf(full)}.zeros`, { sizeBytes: 4 * MIB });
    renameSync(`${imageOf(full)}.zeros`, imageOf(full));
    const { disks } = vm;
    disks[0]!.fill(0, 4 * MIB, 'everything');
    const everything = await vm.seal('full');
    await stage.images.create(`${imageOf(everything)}.zeros`, { sizeBytes: 4 * MIB });
    renameSync(`${imageOf(everything)}.zeros`, imageOf(everything));
    expect(await verify(everything)).toMatchObject({ findingCount: 64, findings: { length: 20 } });
  });

  it('needs the manifest, and that it says what the catalogue says', async () => {
    rmSync(stage.at(last.manifestPath));
    expect((await verify(last, { quick: true })).findings).toMatchObject([{ kind: 'manifest' }]);
    copyFileSync(stage.at(middle.manifestPath), stage.at(last.manifestPath));
    expect((await verify(last, { quick: true })).findings).toMatchObject([
      { kind: 'manifest', detail: expect.stringContaining(middle.id) },
    ]);
  });

  it('says in a few words what is not there', async () => {
    const { hashesPath, imagePath } = middle.disks[0]!;
    for (const path of [hashesPath!, imagePath, last.manifestPath])
      renameSync(stage.at(path), `${stage.at(path)}.away`);
    const { findings } = await verify(last, { quick: true });
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
    const { findings } = await verify(last, { quick: true });
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
    await expect(run(last)).rejects.toMatchObject({
      code: 'chain_busy',
      message: expect.stringContaining(`sendense restore-point delete ${middle.id}`),
    });
    expect(await catalog.restorePoints.get(last.id)).toMatchObject({ suspect: false });
    await removePoint(middle.id, ports, { ...work, ...nothing });
    expect(await run(last)).toMatchObject({ outcome: 'passed' });
  });

  it('fails the task, and puts the point and all that is read through the same file in doubt', async () => {
    await flip(imageOf(middle), 2 * MIB);
    expect(await run(full)).toMatchObject({ outcome: 'passed', quick: false });
    await expect(run(middle)).rejects.toMatchObject({
      code: 'verification_failed',
      message: expect.stringContaining(`disk 2000 at offset ${2 * MIB} in ${middle.disks[0]!.imagePath}`),
      context: { restore_point_id: middle.id, disk_key: '2000', offset: String(2 * MIB), findings: '1' },
    });
    expect(found.at(-1)).toMatchObject({
      ...{ outcome: 'failed', finding_count: 1, suspects: [last.id, middle.id] },
      findings: [{ kind: 'content', restore_point_id: middle.id, disk_key: 2000, offset: 2 * MIB }],
    });
    expect(await suspects()).toEqual([middle.id, last.id].toSorted());
    expect(await stateOf(middle)).toMatchObject({
      ...{ verification: 'failed', verifiedFull: true, suspect: true },
      verificationDetail: expect.stringContaining(`disk 2000 at offset ${2 * MIB}`),
    });
    expect(await stateOf(last)).toMatchObject({ suspectReason: expect.stringContaining(middle.id) });
    expect(await stateOf(full)).toMatchObject({ verification: 'passed', suspect: false });
  });

  it('leaves points alone that are not read through the damaged file', async () => {
    await vm.seal('full');
    const [newest] = await stage.catalog.restorePoints.ofContext(vm.contextId, stage.repository.id);
    rmSync(imageOf(full, 1));
    await expect(run(middle, { quick: true })).rejects.toMatchObject({ code: 'verification_failed' });
    expect(await suspects()).toEqual([full.id, middle.id, last.id].toSorted());
    expect(await stateOf(newest!)).toMatchObject({ suspect: false });
  });

  it('takes the doubt back only when every block was read and is good', async () => {
    renameSync(imageOf(full), `${imageOf(full)}.away`);
    await expect(run(last, { quick: true })).rejects.toMatchObject({ code: 'verification_failed' });
    renameSync(`${imageOf(full)}.away`, imageOf(full));
    expect(await run(last, { quick: true })).toMatchObject({ outcome: 'passed', quick: true });
    expect(await stateOf(last)).toMatchObject({ verification: 'passed', verifiedFull: false, suspect: true });
    expect(await run(last)).toMatchObject({ outcome: 'passed', quick: false });
    expect(await stateOf(last)).toMatchObject({ verification: 'passed', verifiedFull: true, suspect: false });
    expect(await suspects()).toEqual([full.id, middle.id].toSorted());
  });

  it('says nothing about points when the repository or a tool is not there', async () => {
    renameSync(stage.repository.path, `${stage.repository.path}.away`);
    await expect(run(last)).rejects.toMatchObject({ code: 'repository_missing' });
    renameSync(`${stage.repository.path}.away`, stage.repository.path);
    await expect(verify(last, { tools: { ...tools(), qemuImg: 'no-such-qemu-img' } })).rejects.toMatchObject({
      code: 'qemu_img_failed',
    });
    await expect(verify(last, { tools: { ...tools(), qemuNbd: 'no-such-qemu-nbd' } })).rejects.toMatchObject({
      code: 'qemu_nbd_missing',
    });
    const unmounted = async () => {
      throw new SendenseError('repository_missing', 'it is not mounted');
    };
    rmSync(imageOf(full));
    const repository = { ...stage.repository, availableBytes: unmounted };
    await expect(verify(last, { repository })).rejects.toMatchObject({ code: 'repository_missing' });
    expect(await suspects()).toEqual([]);
  });

  it('ends at once when it is cancelled, with nothing left behind and nothing said', async () => {
    const cancel = new AbortController();
    const reason = new SendenseError('cancelled', 'somebody wants the disk');
    const limited = verify(last, {
      ...{ rateLimitBytesPerSecond: 1, signal: cancel.signal },
      onProgress: () => cancel.abort(reason),
    });
    await expect(limited).rejects.toMatchObject({ code: 'cancelled' });
    await expect(run(last, { signal: cancel.signal })).rejects.toMatchObject({ code: 'cancelled' });
    expect(await stateOf(last)).toMatchObject({ verification: undefined, suspect: false });
  });
});
