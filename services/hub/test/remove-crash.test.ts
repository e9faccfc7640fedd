import { execFileSync, fork, type ChildProcess } from 'node:child_process';
import { chmodSync, mkdirSync, readdirSync, renameSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { killOrphans, silentLogger as log } from '@sendense/runtime';
import { requires, requiresAbility } from '@sendense/runtime/testing';
import type { FromRemoval, RemovalProcessSpec } from './stage/removal-process.js';
import { buildChain, problemsOf, RemovalStage } from './stage/removal-stage.js';
import { mountTmpfs, whyNoMount } from './stage/tmpfs.js';

const MIB = 2 ** 20;
// Each step of each removal is a world of its own; a busy machine takes its time.
jest.setTimeout(400_000);
const PROCESS = fileURLToPath(new URL('./stage/removal-process.js', import.meta.url));
const OWNER = `removal-test-${process.pid}`;
const itOnTmpfs = requiresAbility(it, whyNoMount());
/**
 * Each kind of crash point once, where it comes last: other disks are done then. With EVERY_CRASH_POINT=1 all of them, of
 * each disk, in each removal; `./dev soak` varies what lies around them as well.
 */
const every = process.env['EVERY_CRASH_POINT'] === '1';

/** @param tried the kinds that another removal has tried; these are added */
function chosen(steps: readonly string[], tried = new Set<string>()): string[] {
  if (every) return [...steps];
  const kinds = steps.map((step) => step.replace(/( disk \d+)? of .*$/, ''));
  // Hashes are merged ahead of a pull, which can be taken back, and of a commit, which cannot.
  const points = kinds.map((kind, index) =>
    kind === 'hashes' ? `${kind}, ${kinds[index + 1] ?? ''}` : kind,
  );
  const found = steps.filter(
    (_step, index) => points.lastIndexOf(points[index] ?? '') === index && !tried.has(points[index] ?? ''),
  );
  for (const point of points) tried.add(point);
  return found;
}

/** For failures that do not differ from one point to the next: every second one. */
function alternate(steps: readonly string[], from: number): string[] {
  return steps.filter((_step, index) => every || index % 2 === from);
}

/** Steps that need space. */
const WRITING = /^(decide|write plan|hashes|pull|commit|manifest)/;

requires(
  describe,
  'qemu-img',
  'qemu-io',
  'setpriv',
)('a removal that does not come to its end', () => {
  let built: RemovalStage;
  let ids: string[];
  const triedWithMerges = new Set<string>();

  beforeAll(async () => {
    built = await buildChain();
    ids = built.points.map(({ id }) => id);
  });
  afterAll(() => built[Symbol.dispose]());

  const left = (...removed: string[]) => built.points.filter(({ id }) => !removed.includes(id));

  it.each([
    ['first', 0],
    ['second', 1],
    ['last', 3],
  ])('is finished by doing it again, wherever it ended twice: the %s point', async (_, index) => {
    const id = ids[index]!;
    const steps = await stepsOf(id);
    expect(steps.at(-1)).toBe('catalogue');
    // Nothing stands on the last point: its removal is another one.
    const tried = index === 3 ? undefined : triedWithMerges;
    for (const at of chosen(steps, tried).map((step) => steps.indexOf(step))) {
      {
        await using stage = await built.restore();
        await stage.crashAt(id, (_step, number) => number === at);
        // Whatever state it is in, the points that stay show what they did.
        expect([at, await contentOf(stage.repositoryPath, id)]).toEqual([at, []]);
      }
      {
        await using again = await built.open();
        // The second attempt does not get far either.
        await again.crashAt(id, (_step, number) => number === at % 3);
      }
      await using last = await built.open();
      if (await last.find(id)) await last.remove(id);
      expect([steps[at], await problemsOf(last, left(id))]).toEqual([steps[at], []]);
    }
  });

  it('is finished with the next removal in the chain, which depends on it', async () => {
    const steps = await stepsOf(ids[1]!);
    for (const step of every ? steps : chosen(steps).filter((_name, index) => index % 3 === 2)) {
      {
        await using stage = await built.restore();
        await stage.crashAt(ids[1]!, (name) => name === step);
      }
      await using next = await built.open();
      await next.remove(ids[2]!);
      const decided = steps.indexOf(step) > steps.indexOf('decide');
      expect([step, await problemsOf(next, left(...(decided ? [ids[1]!, ids[2]!] : [ids[2]!])))]).toEqual([
        step,
        [],
      ]);
    }
  });

  it.each([
    ['the first', 0],
    ['the last', 3],
  ])('waits for a repository that is unmounted in any step, and says so: %s point', async (_, index) => {
    const id = ids[index]!;
    const steps = await stepsOf(id);
    for (const at of alternate(chosen(steps.slice(steps.indexOf('write plan'))), index % 2)) {
      await using stage = await built.restore();
      const away = `${built.repositoryPath}.away`;
      const onStep = (step: string) => {
        if (step !== at) return;
        renameSync(built.repositoryPath, away);
        mkdirSync(built.repositoryPath);
      };
      const failure: unknown = await stage.remove(id, { onStep }).catch((error: unknown) => error);
      expect([at, failure]).toEqual([at, expect.objectContaining({ code: 'repository_missing' })]);
      expect(readdirSync(built.repositoryPath)).toEqual([]);
      rmdirSync(built.repositoryPath);
      renameSync(away, built.repositoryPath);
      expect([at, await contentOf(stage.repositoryPath, id)]).toEqual([at, []]);
      expect(await stage.find(id)).toBeDefined();
      await stage.remove(id);
      expect([at, await problemsOf(stage, left(id))]).toEqual([at, []]);
    }
  });

  it('loses nothing when its process is killed in one of its steps', async () => {
    const id = ids[0]!;
    for (const step of alternate(chosen(await stepsOf(id)), 1)) {
      await (await built.restore())[Symbol.asyncDispose]();
      await killedAt(id, 'qemu-img', (message) => 'step' in message && message.step === step);
      await killOrphans(OWNER, log);
      await using stage = await built.open();
      if (await stage.find(id)) await stage.remove(id);
      expect([step, await problemsOf(stage, left(id))]).toEqual([step, []]);
    }
  });

  it('loses nothing when its process is killed in the middle of writing into an image', async () => {
    using big = await bigChain();
    const [first, ...rest] = big.points;
    // As slow as an old disk: the kill comes while it writes.
    const slow = join(big.folder, 'slow-qemu-img');
    await (await big.restore())[Symbol.asyncDispose]();
    writeFileSync(
      slow,
      '#!/bin/sh\ncase "$1" in commit) shift; exec qemu-img commit -r 4M "$@";; esac\nexec qemu-img "$@"\n',
    );
    chmodSync(slow, 0o755);
    const spec = { folder: big.folder, contextId: big.contextId };
    await killedAt(first!.id, slow, (message) => 'bytesDone' in message && message.bytesDone > MIB, spec);
    await killOrphans(OWNER, log);
    await using stage = await big.open();
    expect(await stage.find(first!.id)).toMatchObject({ state: 'removing' });
    const { removal } = JSON.parse(
      execFileSync('sh', ['-c', `cat ${big.repositoryPath}/*/manifests/*.removing`]).toString(),
    ) as { removal: object };
    expect(removal).toMatchObject({ irreversible: true, merges: [{ method: 'commit' }] });
    await stage.remove(first!.id);
    expect(await problemsOf(stage, rest)).toEqual([]);
  });

  itOnTmpfs('waits for space when that runs out in any step, and loses nothing', async () => {
    await using _mount = mountTmpfs(built.repositoryPath, '24m');
    const fill = join(built.repositoryPath, 'somebody-elses');
    const refusedIn: string[] = [];
    const tried = new Set<string>();
    for (const id of ids.slice(0, 2)) {
      for (const at of chosen(await stepsOf(id), tried).filter((step) => every || WRITING.test(step))) {
        await using stage = await built.restore();
        const onStep = (step: string) => void (step === at && fillUp(fill));
        const failure: unknown = await stage.remove(id, { onStep }).catch((error: unknown) => error);
        const point = await stage.find(id);
        expect([at, await contentOf(stage.repositoryPath, id)]).toEqual([at, []]);
        rmSync(fill);
        if (point) {
          refusedIn.push(`${point.state} ${at.split(' ')[0]}`);
          expect(failure).toMatchObject({
            code: 'repository_full',
            message: expect.stringContaining('Free space there'),
          });
          if (point.state === 'sealed') expect([at, await problemsOf(stage, left())]).toEqual([at, []]);
          await stage.remove(id);
        }
        expect([at, await problemsOf(stage, left(id))]).toEqual([at, []]);
      }
    }
    // Where nothing new is written, nothing fails. What can be taken back is sealed again, the rest waits.
    for (const step of ['sealed decide', 'sealed hashes', 'sealed pull', 'removing manifest'])
      expect(refusedIn).toContain(step);
  });

  itOnTmpfs('does not begin when the merged data would not fit', async () => {
    await using _mount = mountTmpfs(built.repositoryPath, '24m');
    await using stage = await built.restore();
    const fill = join(built.repositoryPath, 'somebody-elses');
    fillUp(fill);
    await expect(stage.remove(ids[0]!)).rejects.toMatchObject({
      code: 'repository_full',
      message: expect.stringMatching(/up to \d+ MiB must be free .* 0 MiB are/),
    });
    rmSync(fill);
    expect(await problemsOf(stage, left())).toEqual([]);
  });

  async function stepsOf(id: string): Promise<string[]> {
    await using stage = await built.restore();
    return await stage.crashAt(id, () => false);
  }

  /** What is not as it was, of the points that stay, read through images whose names never change. */
  async function contentOf(repository: string, removed: string): Promise<string[]> {
    const problems: string[] = [];
    for (const { id, content } of left(removed))
      for (const [number, bytes] of content.entries()) {
        const name = id.replace('pgtest1-', `pgtest1-disk${number}-`);
        const image = join(repository, built.contextId, `disk-${number}`, `${name}.qcow2`);
        const raw = join(built.folder, 'expected.raw');
        writeFileSync(raw, bytes);
        try {
          execFileSync('qemu-img', ['compare', '-f', 'qcow2', '-F', 'raw', image, raw], { stdio: 'pipe' });
        } catch (error) {
          problems.push(`${image}: ${String((error as { stderr?: Buffer }).stderr)}`);
        }
      }
    return problems;
  }

  /** Runs the removal in a process, and kills that with SIGKILL at this message; returns when it is gone. */
  async function killedAt(
    pointId: string,
    qemuImg: string,
    when: (message: FromRemoval) => boolean,
    where: Pick<RemovalProcessSpec, 'folder' | 'contextId'> = built,
  ): Promise<void> {
    const { folder, contextId } = where;
    const spec: RemovalProcessSpec = { folder, contextId, pointId, qemuImg, owner: OWNER };
    const child: ChildProcess = fork(PROCESS, [JSON.stringify(spec)], { stdio: 'inherit' });
    const gone = new Promise((resolve) => child.once('exit', resolve));
    const ended: string[] = [];
    child.on('message', (message: FromRemoval) => {
      if ('ended' in message) ended.push(message.ended);
      if (when(message)) child.kill('SIGKILL');
    });
    await gone;
    // One that was faster than the kill has removed the point.
    expect(ended.filter((how) => how !== 'removed')).toEqual([]);
  }
});

/** Two points of one disk, of which the first is committed into, for a while. */
function bigChain(): Promise<RemovalStage> {
  return RemovalStage.build([48 * MIB], async (vm) => {
    vm.disks[0]!.fill(0, 24 * MIB);
    await vm.seal('full');
    vm.disks[0]!.fill(8 * MIB, 12 * MIB, 'changed');
    await vm.seal('incremental');
    vm.disks[0]!.fill(30 * MIB, MIB, 'more');
    await vm.seal('incremental');
  });
}

/** Takes the last byte. */
function fillUp(path: string): void {
  expect(() => execFileSync('dd', ['if=/dev/zero', `of=${path}`, 'bs=4k'], { stdio: 'pipe' })).toThrow();
}
