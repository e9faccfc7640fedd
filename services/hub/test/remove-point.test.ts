import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { SendenseError } from '@sendense/core';
import { requires } from '@sendense/runtime/testing';
import { buildChain, type OpenedStage, problemsOf, RemovalStage, zero } from './stage/removal-stage.js';

const MIB = 2 ** 20;
const KIB = 1024;

requires(
  describe,
  'qemu-img',
  'qemu-io',
)('the removal of a restore point', () => {
  let built: RemovalStage;
  let stage: OpenedStage;
  let ids: string[];

  beforeAll(async () => {
    built = await buildChain();
    ids = built.points.map(({ id }) => id);
  });
  afterAll(() => built[Symbol.dispose]());
  beforeEach(async () => {
    stage = await built.restore();
  });
  afterEach(() => stage[Symbol.asyncDispose]());

  const left = (...removed: string[]) => built.points.filter(({ id }) => !removed.includes(id));
  const suspect = (...points: string[]) => stage.catalog.restorePoints.markSuspect(points, 'a flipped byte');

  it.each([
    ['the first', 0, ['commit', 'pull']],
    ['the second', 1, ['pull', 'commit']],
    ['the third', 2, ['pull', 'pull']],
    ['the last', 3, []],
  ])('leaves all others as they were: %s', async (_, index, methods) => {
    const id = ids[index]!;
    const merges: string[] = [];
    const removed = await stage.remove(id, {
      onStep: (step) => void (/^(pull|commit) /.test(step) && merges.push(step)),
    });
    const after = ids[index + 1];
    expect(removed).toMatchObject({ restore_point_id: id, merged_into: after === undefined ? [] : [after] });
    expect(merges.map((step) => step.slice(0, step.indexOf(' '))).toSorted()).toEqual(methods.toSorted());
    expect(await problemsOf(stage, left(id))).toEqual([]);
    if (after === undefined) return;
    for (const disk of stage.manifest(after).disks)
      expect(disk.merged).toMatchObject([{ backup_id: id, merged_at: expect.any(String) }]);
  });

  it('may be of all points, in any order, until nothing is left', async () => {
    for (const order of [
      [0, 1, 2, 3],
      [2, 0, 3, 1],
    ]) {
      await stage[Symbol.asyncDispose]();
      stage = await built.restore();
      const gone: string[] = [];
      for (const index of order) {
        await stage.remove(ids[index]!);
        gone.push(ids[index]!);
        expect(await problemsOf(stage, left(...gone))).toEqual([]);
      }
      expect(existsSync(join(stage.repositoryPath, stage.contextId))).toBe(false);
    }
  });

  it('tells how far it is, in bytes', async () => {
    const news: [number, number][] = [];
    const { bytes_merged } = await stage.remove(ids[0]!, {
      progress: (done, total) => void news.push([done, total]),
    });
    expect(bytes_merged).toBeGreaterThan(100 * KIB);
    expect(news.at(-1)).toEqual([bytes_merged, bytes_merged]);
    expect(news.map(([done]) => done)).toEqual(news.map(([done]) => done).toSorted((a, b) => a - b));
  });

  it('is refused while the point is held, and nothing changes', async () => {
    await stage.catalog.restorePoints.hold(ids[1]!, 'audit 2026');
    await expect(stage.remove(ids[1]!)).rejects.toMatchObject({
      code: 'restore_point_held',
      message: expect.stringContaining('audit 2026'),
    });
    expect(await problemsOf(stage, left())).toEqual([]);
  });

  it('is possible under a point that is held: it shows the same afterwards', async () => {
    await stage.catalog.restorePoints.hold(ids[2]!, 'audit 2026');
    await stage.remove(ids[1]!);
    expect(await problemsOf(stage, left(ids[1]!))).toEqual([]);
  });

  it('never merges what is suspect, whichever of both it is', async () => {
    await suspect(ids[2]!);
    for (const id of [ids[1]!, ids[2]!])
      await expect(stage.remove(id)).rejects.toMatchObject({
        code: 'restore_point_suspect',
        message: expect.stringMatching(/a flipped byte.*remove the later points first/),
        context: { restore_point_id: id, suspect_point_id: ids[2] },
      });
    expect(await problemsOf(stage, left())).toEqual([]);
    // Nothing that is suspect is read or written by this one.
    await stage.remove(ids[0]!);
    expect(await problemsOf(stage, left(ids[0]!))).toEqual([]);
  });

  it('is always possible when nothing stands on the point, suspect and damaged as it may be', async () => {
    await suspect(...ids.slice(2));
    const { disks } = stage.manifest(ids[3]!);
    rmSync(join(stage.repositoryPath, disks[0]!.image));
    writeFileSync(manifestPath(ids[3]!), 'not a manifest');
    await stage.remove(ids[3]!);
    expect(await problemsOf(stage, left(ids[3]!))).toEqual([]);
    await stage.remove(ids[2]!);
    expect(await problemsOf(stage, left(ids[3]!, ids[2]!))).toEqual([]);
  });

  it.each<[string, (images: (point: number) => string) => void, RegExp]>([
    ['an image of it is missing', (image) => rmSync(image(1)), /cannot be read|not there/],
    ['an image on it is missing', (image) => rmSync(image(2)), /cannot be read|not there/],
    ['images were exchanged', (image) => renameSync(image(0), image(1)), /stand/],
  ])('is refused as damaged, and nothing changes, when %s', async (_, damage, words) => {
    damage((index) => join(stage.repositoryPath, stage.manifest(ids[index]!).disks[0]!.image));
    const before = stage.files();
    await expect(stage.remove(ids[1]!)).rejects.toMatchObject({
      code: 'chain_damaged',
      message: expect.stringMatching(words),
    });
    expect(stage.files()).toEqual(before);
    expect(await stage.find(ids[1]!)).toMatchObject({ state: 'sealed' });
  });

  it('is refused when nobody can know what stands on the point', async () => {
    writeFileSync(manifestPath(ids[3]!), '{');
    await expect(stage.remove(ids[1]!)).rejects.toMatchObject({
      code: 'chain_damaged',
      message: expect.stringContaining(`${manifestPath(ids[3]!)} cannot be read`),
    });
    await expect(stage.remove(ids[1]!)).rejects.toThrow('move it out of the repository');
    rmSync(manifestPath(ids[3]!));
    await expect(stage.remove(ids[2]!)).rejects.toMatchObject({ code: 'chain_damaged' });
  });

  it.each([
    ['a pipe', (path: string) => void execFileSync('mkfifo', [path]), 'not a regular file'],
    ['a link', (path: string) => symlinkSync('/dev/zero', path), 'not a regular file'],
    ['a folder', (path: string) => mkdirSync(path), 'not a regular file'],
    ['a file without end', (path: string) => writeFileSync(path, Buffer.alloc(17 * MIB)), 'bytes, more than'],
  ])('is not held up by %s among the manifests: it is refused', async (_, put, words) => {
    put(manifestPath('somebody-elses'));
    await expect(stage.remove(ids[1]!)).rejects.toMatchObject({
      code: 'chain_damaged',
      message: expect.stringContaining(words),
    });
    rmSync(manifestPath('somebody-elses'), { recursive: true });
    await stage.remove(ids[1]!);
    expect(await problemsOf(stage, left(ids[1]!))).toEqual([]);
  });

  it('waits for the publication of a backup that stands on the point', async () => {
    const partial = `${manifestPath(ids[3]!)}.partial`;
    renameSync(manifestPath(ids[3]!), partial);
    await expect(stage.remove(ids[2]!)).rejects.toMatchObject({ code: 'chain_busy', retryable: true });
    renameSync(partial, manifestPath(ids[3]!));
    await stage.remove(ids[2]!);
    expect(await problemsOf(stage, left(ids[2]!))).toEqual([]);
  });

  it.each([
    ['before anything', /^decide/],
    ['between the disks', /^go forward/],
  ])('that is cancelled %s is taken back', async (_, at) => {
    const abort = new AbortController();
    const reason = new SendenseError('cancelled', 'asked for');
    const onStep = (step: string) => void (at.test(step) && abort.abort(reason));
    for (const id of ids.slice(0, 3)) {
      await expect(stage.remove(id, { signal: abort.signal, onStep })).rejects.toBe(reason);
      expect(readFileSync(manifestPath(id), 'utf8')).not.toContain('removal');
      expect(await problemsOf(stage, left())).toEqual([]);
    }
    await stage.remove(ids[0]!);
    expect(await problemsOf(stage, left(ids[0]!))).toEqual([]);
  });

  it('that has begun to change an image goes on when it is cancelled, and says so before', async () => {
    const abort = new AbortController();
    const said: string[] = [];
    await stage.remove(ids[0]!, {
      signal: abort.signal,
      commit: (why) => void said.push(why),
      onStep: (step) => void (step.startsWith('commit') && abort.abort(new SendenseError('cancelled', 'x'))),
    });
    expect(said).toEqual([expect.stringContaining('only finishing')]);
    expect(await problemsOf(stage, left(ids[0]!))).toEqual([]);
  });

  it('that the end of the hub interrupts stays as it is, and is finished by the next removal in the chain', async () => {
    const abort = new AbortController();
    const reason = new SendenseError('shutting_down', 'the hub stops');
    const onStep = (step: string) => void (step.startsWith('replace') && abort.abort(reason));
    await expect(stage.remove(ids[0]!, { signal: abort.signal, onStep })).rejects.toBe(reason);
    expect(await stage.find(ids[0]!)).toMatchObject({ state: 'removing' });
    await stage.remove(ids[1]!);
    expect(await problemsOf(stage, left(ids[0]!, ids[1]!))).toEqual([]);
  });

  it('gives the data to each of several points that stand on one, as a clock that went back leaves them', async () => {
    using branched = await RemovalStage.build([2 * MIB], async (vm) => {
      const disk = vm.disks[0]!;
      disk.fill(0, 128 * KIB);
      await vm.seal('full');
      disk.fill(0, 64 * KIB, 'second');
      await vm.seal('incremental');
      zero(disk, 0, 64 * KIB);
      disk.fill(MIB, 512 * KIB, 'third');
      const [second] = vm.manifests.splice(1, 1);
      await vm.seal('incremental');
      vm.manifests.push(second!);
    });
    await using opened = await branched.restore();
    const [first, ...rest] = branched.points;
    expect(await problemsOf(opened, branched.points)).toEqual([]);
    expect(await opened.remove(first!.id)).toMatchObject({
      merged_into: expect.arrayContaining(rest.map(({ id }) => id)),
    });
    expect(await problemsOf(opened, rest)).toEqual([]);
  });

  const manifestPath = (id: string) => join(stage.repositoryPath, stage.contextId, 'manifests', `${id}.json`);
});
