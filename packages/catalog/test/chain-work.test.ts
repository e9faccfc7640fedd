import { join } from 'node:path';
import { expect, it } from '@jest/globals';
import { SendenseError } from '@sendense/core';
import { ChildProcess, silentLogger as log } from '@sendense/runtime';
import fc from 'fast-check';
import { chainBusy, toStoredError, type ChainLockMode } from '../src/index.js';
import { describeOnEach } from './databases.js';
import { Stage } from './stage.js';

const chain = { contextId: 'ctx', repositoryId: 'repo' };
const want = (mode: ChainLockMode, holderId: string) => ({ ...chain, mode, purpose: 'test', holderId });
const failure = toStoredError(new SendenseError('chain_damaged', 'it is torn', { context: { disk: 1 } }));

describeOnEach('a lock on a chain', () => {
  it('stands alone when exclusive, and beside others when shared', async () => {
    await using stage = await Stage.open();
    const { chainLocks } = stage.catalog;
    expect(await chainLocks.acquire(want('shared', 'a'))).toMatchObject({ mode: 'shared', holderId: 'a' });
    expect(await chainLocks.acquire(want('shared', 'b'))).toBeDefined();
    expect(await chainLocks.acquire(want('exclusive', 'c'))).toBeUndefined();
    const holders = await chainLocks.conflicts({ ...chain, mode: 'exclusive' });
    expect(holders.map(({ holderId }) => holderId)).toEqual(['a', 'b']);
    expect(chainBusy(chain, holders)).toMatchObject({
      code: 'chain_busy',
      retryable: true,
      message: expect.stringContaining('test (a), test (b)'),
    });
    expect(await chainLocks.conflicts({ ...chain, mode: 'shared' })).toEqual([]);
    // Another VM, another repository.
    expect(await chainLocks.acquire({ ...want('exclusive', 'c'), contextId: 'ctx2' })).toBeDefined();
    expect(await chainLocks.acquire({ ...want('exclusive', 'd'), repositoryId: 'repo2' })).toBeDefined();
    expect(await chainLocks.release('a')).toBe(1);
    expect(await chainLocks.release('a')).toBe(0);
    expect(await chainLocks.release('b')).toBe(1);
    expect(await chainLocks.acquire(want('exclusive', 'c'))).toBeDefined();
    expect(await chainLocks.acquire(want('shared', 'a'))).toBeUndefined();
    expect(await chainLocks.release('c')).toBe(2);
    expect((await chainLocks.list()).map(({ holderId }) => holderId)).toEqual(['d']);
    expect(await chainLocks.list(chain)).toEqual([]);
  });

  it('survives a restart, and who held it takes it up again', async () => {
    await using stage = await Stage.open();
    const lock = await stage.catalog.chainLocks.acquire(want('exclusive', 'a'));
    await stage.reopen();
    const { chainLocks } = stage.catalog;
    expect(await chainLocks.list()).toEqual([lock]);
    expect(await chainLocks.acquire(want('exclusive', 'b'))).toBeUndefined();
    expect(await chainLocks.acquire(want('exclusive', 'a'))).toEqual(lock);
    // A weaker wish does not weaken what it has.
    expect(await chainLocks.acquire(want('shared', 'a'))).toEqual(lock);
    await chainLocks.release('a');
    await chainLocks.acquire(want('shared', 'a'));
    await chainLocks.acquire(want('shared', 'b'));
    expect(await chainLocks.acquire(want('exclusive', 'a'))).toBeUndefined();
    await chainLocks.release('b');
    expect(await chainLocks.acquire(want('exclusive', 'a'))).toMatchObject({ mode: 'exclusive' });
    expect(await chainLocks.list()).toHaveLength(1);
  });

  it('goes to one of many who want it at once, in this process and in others', async () => {
    await using stage = await Stage.open();
    const { chainLocks } = stage.catalog;
    const won = await Promise.all(
      Array.from({ length: 20 }, (_, n) => chainLocks.acquire(want('exclusive', `h${n}`))),
    );
    expect(won.filter((lock) => lock !== undefined)).toHaveLength(1);
    await chainLocks.release(won.find((lock) => lock !== undefined)!.holderId);

    const script = join(import.meta.dirname, 'acquire-lock.js');
    const others = await Promise.all(
      ['x', 'y', 'z'].map((holder) =>
        ChildProcess.spawn(process.execPath, [script, stage.directory, 'exclusive', holder], {
          ...{ name: 'lock', owner: `test-catalog-${process.pid}`, log, env: stage.environment },
        }),
      ),
    );
    const said = await Promise.all(others.map(async (other) => (await other.exited, other.stderrTail())));
    expect(said.sort()).toEqual(['got', 'refused', 'refused']);
  });

  it('never stands beside an exclusive one, whatever was asked for before', async () => {
    const step = fc.record({
      holder: fc.constantFrom('a', 'b', 'c'),
      what: fc.constantFrom<ChainLockMode | 'release'>('shared', 'exclusive', 'release'),
    });
    await using stage = await Stage.open();
    const { chainLocks } = stage.catalog;
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 12 }), async (steps) => {
        for (const holder of ['a', 'b', 'c']) await chainLocks.release(holder);
        await Promise.all(
          steps.map(({ holder, what }) =>
            what === 'release' ? chainLocks.release(holder) : chainLocks.acquire(want(what, holder)),
          ),
        );
        const held = await chainLocks.list();
        if (held.some(({ mode }) => mode === 'exclusive')) expect(held).toHaveLength(1);
      }),
      { numRuns: 30 },
    );
  });
});

describeOnEach('a task', () => {
  const verify = {
    kind: 'verify',
    subject: { type: 'restore_point', id: 'p1' },
    requestedBy: 'test',
  } as const;

  it('goes from queued to its result, with its progress', async () => {
    await using stage = await Stage.open();
    const { tasks } = stage.catalog;
    const made = await tasks.create({ ...verify, args: { quick: true } });
    expect(made).toMatchObject({
      id: expect.stringMatching(/^task-verify-\d{8}-\d{6}$/),
      state: 'queued',
      args: { quick: true },
      progress: undefined,
      cancelReason: undefined,
    });
    await tasks.changeState(made.id, { state: 'running' });
    await tasks.recordProgress(made.id, { bytesDone: 5, bytesTotal: 2 ** 40 });
    await stage.reopen();
    const after = stage.catalog.tasks;
    expect(await after.unfinished()).toMatchObject([
      { id: made.id, state: 'running', progress: { bytesDone: 5, bytesTotal: 2 ** 40 } },
    ]);
    const result = { blocks_checked: 7, findings: [{ disk_key: 2000, offset: 65_536 }] };
    expect(await after.changeState(made.id, { state: 'completed', result })).toMatchObject({
      state: 'completed',
      startedAt: expect.any(Date),
      endedAt: expect.any(Date),
      result,
    });
    expect(await after.unfinished()).toEqual([]);
    // A late word of the worker.
    await after.recordProgress(made.id, { bytesDone: 6, bytesTotal: 9 });
    expect((await after.get(made.id)).progress).toEqual({ bytesDone: 5, bytesTotal: 2 ** 40 });
  });

  it('fails with an error and may keep what it found, is taken up again or cancelled', async () => {
    await using stage = await Stage.open();
    const { tasks } = stage.catalog;
    const failed = await tasks.create(verify);
    await tasks.changeState(failed.id, { state: 'running' });
    expect(
      await tasks.changeState(failed.id, { state: 'failed', error: failure, result: { findings: 2 } }),
    ).toMatchObject({
      state: 'failed',
      error: { code: 'chain_damaged', context: { disk: '1' } },
      result: { findings: 2 },
    });

    const again = await tasks.create({ ...verify, kind: 'remove' });
    const first = await tasks.changeState(again.id, { state: 'running' });
    expect(await tasks.changeState(again.id, { state: 'running' })).toEqual(first);
    expect(await tasks.changeState(again.id, { state: 'queued' })).toMatchObject({ state: 'queued' });
    expect(await tasks.requestCancel(again.id, 'alice wants it')).toMatchObject({ state: 'queued' });
    await tasks.requestCancel(again.id, 'bob too');
    expect(await tasks.changeState(again.id, { state: 'cancelled' })).toMatchObject({
      state: 'cancelled',
      startedAt: undefined,
      cancelReason: 'alice wants it',
    });
    for (const call of [
      () => tasks.requestCancel(again.id, 'x'),
      () => tasks.changeState(again.id, { state: 'running' }),
      () => tasks.changeState(failed.id, { state: 'queued' }),
      () => tasks.create(verify).then(({ id }) => tasks.changeState(id, { state: 'completed', result: {} })),
    ])
      await expect(call()).rejects.toMatchObject({ code: 'conflict' });
    for (const call of [
      () => tasks.get('none'),
      () => tasks.changeState('none', { state: 'running' }),
      () => tasks.recordProgress('none', { bytesDone: 0, bytesTotal: 0 }),
      () => tasks.requestCancel('none', 'x'),
    ])
      await expect(call()).rejects.toMatchObject({ code: 'task_not_found' });
  });

  it('is found by state, kind and subject, in pages', async () => {
    await using stage = await Stage.open();
    const { tasks } = stage.catalog;
    const made: string[] = [];
    for (let n = 0; n < 7; n++)
      made.push((await tasks.create({ ...verify, subject: { type: 'vm', id: `ctx-${n % 2}` } })).id);
    expect(new Set(made).size).toBe(7);
    const other = await tasks.create({ ...verify, kind: 'rescan', subject: { type: 'repository', id: 'r' } });
    await tasks.changeState(other.id, { state: 'cancelled' });
    const seen: string[] = [];
    let cursor: string | undefined;
    do {
      const page = await tasks.list({ limit: 3, kind: 'verify', ...(cursor ? { cursor } : {}) });
      seen.push(...page.items.map(({ id }) => id));
      cursor = page.nextCursor;
    } while (cursor);
    expect([...seen].sort()).toEqual([...made].sort());
    expect((await tasks.list({ subject: { type: 'vm', id: 'ctx-1' } })).items).toHaveLength(3);
    expect((await tasks.list({ state: 'cancelled' })).items.map(({ id }) => id)).toEqual([other.id]);
    expect(await tasks.countByKindAndState()).toEqual(
      expect.arrayContaining([
        { kind: 'verify', state: 'queued', count: 7 },
        { kind: 'rescan', state: 'cancelled', count: 1 },
      ]),
    );
    await expect(tasks.list({ limit: 0 })).rejects.toMatchObject({ code: 'invalid_argument' });
  });
});

describeOnEach('a retention policy', () => {
  const policy = { keepLast: 3, daily: 7, weekly: 4, monthly: 12, yearly: 0 };

  it("is the VM's own, else the repository's, else none", async () => {
    await using stage = await Stage.open();
    const { vm, repositoryId } = await stage.addVm();
    const { retention } = stage.catalog;
    const effective = () => retention.effective(vm.contextId, repositoryId);
    expect(await effective()).toEqual({ source: 'none', policy: undefined });
    await retention.set({ repositoryId }, policy);
    expect(await effective()).toEqual({ source: 'repository', policy });
    const own = { ...policy, keepLast: 9, timeZone: 'Europe/Berlin' };
    await retention.set({ contextId: vm.contextId }, policy);
    expect(await retention.set({ contextId: vm.contextId }, own)).toEqual(own);
    expect(await effective()).toEqual({ source: 'vm', policy: own });
    expect(await retention.get({ repositoryId })).toEqual(policy);
    expect(await retention.clear({ contextId: vm.contextId })).toBe(true);
    expect(await retention.clear({ contextId: vm.contextId })).toBe(false);
    expect(await effective()).toMatchObject({ source: 'repository' });
  });

  it('is refused when it makes no sense', async () => {
    await using stage = await Stage.open();
    const repositoryId = await stage.addRepository();
    const { retention } = stage.catalog;
    const nothing = { keepLast: 0, daily: 0, weekly: 0, monthly: 0, yearly: 0 };
    for (const bad of [
      nothing,
      { ...policy, daily: -1 },
      { ...policy, daily: 1.5 },
      { ...policy, yearly: 2 ** 40 },
      { ...policy, timeZone: 'Mars/Olympus' },
    ])
      await expect(retention.set({ repositoryId }, bad)).rejects.toMatchObject({ code: 'invalid_argument' });
    await expect(retention.set({ repositoryId: 'none' }, policy)).rejects.toMatchObject({
      code: 'repository_not_found',
    });
    await expect(retention.set({ contextId: 'none' }, policy)).rejects.toMatchObject({
      code: 'vm_not_protected',
    });
    expect(await retention.get({ repositoryId })).toBeUndefined();
  });

  it('goes with what it is for', async () => {
    await using stage = await Stage.open();
    const { vm, repositoryId } = await stage.addVm();
    const { retention } = stage.catalog;
    await retention.set({ repositoryId }, policy);
    await retention.set({ contextId: vm.contextId }, policy);
    await stage.catalog.vms.remove(vm.contextId);
    await stage.catalog.repositories.remove(repositoryId);
    expect(await retention.effective(vm.contextId, repositoryId)).toMatchObject({ source: 'none' });
  });
});
