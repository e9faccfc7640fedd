import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { openCatalog, type Catalog, type TaskRecord } from '@sendense/catalog';
import { SendenseError, throwIfAborted } from '@sendense/core';
import { silentLogger as log } from '@sendense/runtime';
import { eventually } from '@sendense/runtime/testing';
import { AuditTrail } from '../audit-trail.js';
import { ChainLocks } from '../chains/locks.js';
import { TaskRunner } from './runner.js';
import type { TaskContext, TaskHandler } from './types.js';

/** A task whose every step the test decides. */
class Puppet implements TaskHandler {
  readonly resume: boolean;
  readonly running = new Map<string, { context: TaskContext; end: PromiseWithResolvers<void> }>();

  constructor(o: { resume: boolean }) {
    this.resume = o.resume;
  }

  lock({ args }: TaskRecord) {
    const contextId = args['context_id'];
    if (typeof contextId !== 'string') return undefined;
    const mode = this.resume ? ('exclusive' as const) : ('shared' as const);
    return { contextId, repositoryId: 'repo', mode };
  }

  async run(task: TaskRecord, context: TaskContext) {
    const end = Promise.withResolvers<void>();
    this.running.set(task.id, { context, end });
    context.signal.addEventListener('abort', () => end.resolve());
    try {
      await end.promise;
      throwIfAborted(context.signal);
      return { done: task.id };
    } finally {
      this.running.delete(task.id);
    }
  }
}

describe('the task runner', () => {
  let folder: string;
  let catalog: Catalog;
  let locks: ChainLocks;
  let runner: TaskRunner;
  let remove: Puppet;
  let verify: Puppet;

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'sdt-'));
    await start();
  });
  afterEach(async () => {
    await stop();
    rmSync(folder, { recursive: true, force: true });
  });

  async function start(maxTasks = 2): Promise<void> {
    catalog = await openCatalog({ directory: folder, log });
    locks = new ChainLocks({ catalog, log });
    const audit = new AuditTrail(catalog, log);
    runner = new TaskRunner({ catalog, locks, audit, log, maxTasks, progressEveryMs: 50 });
    runner.register('remove', (remove = new Puppet({ resume: true })));
    runner.register('verify', (verify = new Puppet({ resume: false })));
    await runner.begin();
  }

  async function stop(): Promise<void> {
    await runner[Symbol.asyncDispose]();
    await catalog[Symbol.asyncDispose]();
  }

  const ask = (kind: 'remove' | 'verify', contextId?: string) =>
    runner.start({
      kind,
      subject: { type: 'restore_point', id: `point-of-${contextId ?? 'nothing'}` },
      args: contextId === undefined ? {} : { context_id: contextId },
      requestedBy: 'token:t',
    });
  const running = (puppet: Puppet, { id }: TaskRecord) =>
    eventually(`${id} runs`, () => puppet.running.get(id));
  const ended = ({ id }: TaskRecord) =>
    eventually(`${id} has ended`, async () => {
      const task = await catalog.tasks.get(id);
      return 'endedAt' in task ? task : undefined;
    });
  const waitsFor = ({ id }: TaskRecord) => runner.queue().find(({ taskId }) => taskId === id)?.waitingFor;

  it('runs a task under the lock of its chain, and tells every state to the audit trail', async () => {
    const task = await ask('remove', 'ctx-1');
    expect(task).toMatchObject({ state: 'queued', kind: 'remove' });
    const { end } = await running(remove, task);
    expect(await catalog.chainLocks.list()).toMatchObject([
      { contextId: 'ctx-1', mode: 'exclusive', purpose: 'remove', holderId: task.id },
    ]);
    end.resolve();
    expect(await ended(task)).toMatchObject({ state: 'completed', result: { done: task.id } });
    await eventually('the lock is free', async () => (await catalog.chainLocks.list()).length === 0);
    const { items } = await catalog.audit.list({ subjectType: 'task', subjectId: task.id });
    expect(items.map(({ action, actor, outcome }) => [action, actor, outcome]).toReversed()).toEqual([
      ['task.queued', 'token:t', 'ok'],
      ['task.running', 'token:t', 'ok'],
      ['task.completed', 'token:t', 'ok'],
    ]);
  });

  it('runs so many at a time, one per chain, in their order, and says what each waits for', async () => {
    const first = await ask('verify', 'ctx-1');
    const second = await ask('verify', 'ctx-1');
    const third = await ask('verify', 'ctx-2');
    const fourth = await ask('verify', 'ctx-3');
    const one = await running(verify, first);
    await running(verify, third);
    expect([...verify.running.keys()]).toEqual([first.id, third.id]);
    expect(runner.queue().map(({ taskId, position }) => [taskId, position])).toEqual([
      [second.id, 1],
      [fourth.id, 2],
    ]);
    await eventually('they say why', () => waitsFor(fourth) === 'one of the 2 tasks that run now');
    one.end.resolve();
    await running(verify, second);
    expect(waitsFor(fourth)).toBe('one of the 2 tasks that run now');
    for (const { end } of verify.running.values()) end.resolve();
    await running(verify, fourth);
  });

  it('waits for a backup on the chain, and names it', async () => {
    const backup = { contextId: 'ctx-1', repositoryId: 'repo', mode: 'shared', purpose: 'backup' } as const;
    await using lock = await locks.acquire({ ...backup, holderId: 'backup-1' });
    const task = await ask('remove', 'ctx-1');
    await eventually('it waits', () => waitsFor(task) === 'backup backup-1');
    await expect(locks.acquire({ ...backup, mode: 'exclusive', holderId: 'me' })).rejects.toMatchObject({
      code: 'chain_busy',
      message: expect.stringContaining('backup-1'),
    });
    await lock[Symbol.asyncDispose]();
    await running(remove, task);
  });

  it('cancels one that waits at once, and one that runs when it has given back what it holds', async () => {
    const first = await ask('remove', 'ctx-1');
    const second = await ask('remove', 'ctx-1');
    await running(remove, first);
    expect(await runner.cancel(second.id, 'not needed')).toMatchObject({
      state: 'cancelled',
      cancelReason: 'not needed',
    });
    await runner.cancel(first.id, 'changed my mind');
    expect(await ended(first)).toMatchObject({ state: 'cancelled', cancelReason: 'changed my mind' });
    expect(await runner.cancel(first.id, 'again')).toMatchObject({ cancelReason: 'changed my mind' });
    await expect(runner.cancel('task-none', 'x')).rejects.toMatchObject({ code: 'task_not_found' });
  });

  it('says why one that can only go forward is not cancelled', async () => {
    const task = await ask('remove', 'ctx-1');
    const { context, end } = await running(remove, task);
    context.commit('images are being merged');
    await expect(runner.cancel(task.id, 'x')).rejects.toMatchObject({
      code: 'conflict',
      message: expect.stringContaining('images are being merged'),
    });
    end.resolve();
    expect(await ended(task)).toMatchObject({ state: 'completed' });
  });

  it('keeps the error of one that fails, and goes on with the next', async () => {
    const [first, second] = [await ask('remove', 'ctx-1'), await ask('remove', 'ctx-1')];
    const { end } = await running(remove, first);
    end.reject(new SendenseError('chain_damaged', 'a file is gone', { context: { path: 'x' } }));
    expect(await ended(first)).toMatchObject({
      state: 'failed',
      error: { code: 'chain_damaged', message: 'a file is gone', context: { path: 'x' } },
    });
    await running(remove, second);
  });

  it('shows how far a task is, and writes that now and then only', async () => {
    let writes = 0;
    const record = catalog.tasks.recordProgress.bind(catalog.tasks);
    catalog.tasks.recordProgress = (id, amount) => {
      writes++;
      return record(id, amount);
    };
    const task = await ask('verify', 'ctx-1');
    const { context, end } = await running(verify, task);
    for (let done = 0; done <= 1_000; done++) context.progress(done, 1_000);
    end.resolve();
    expect(await ended(task)).toMatchObject({ progress: { bytesDone: 1_000, bytesTotal: 1_000 } });
    expect(writes).toBe(2);
  });

  it('is stopped with the hub: what can go on does so at the next start under its lock, the rest has failed', async () => {
    const [removal, verification, waiting] = [
      await ask('remove', 'ctx-1'),
      await ask('verify', 'ctx-2'),
      await ask('verify', 'ctx-3'),
    ];
    await running(remove, removal);
    await running(verify, verification);
    await stop();
    await start();
    expect(await catalog.tasks.get(verification.id)).toMatchObject({
      state: 'failed',
      error: { code: 'hub_restarted' },
    });
    await running(remove, removal);
    await running(verify, waiting);
    expect(await catalog.chainLocks.list()).toMatchObject([
      { holderId: removal.id },
      { holderId: waiting.id },
    ]);
    await expect(ask('remove', 'ctx-1')).resolves.toMatchObject({ state: 'queued' });
  });

  it('goes on where a killed hub was: its locks are kept for what goes on, and free for the rest', async () => {
    const go = await catalog.tasks.create({
      kind: 'remove',
      subject: { type: 'restore_point', id: 'p' },
      args: { context_id: 'ctx-1' },
      requestedBy: 'x',
    });
    const lost = await catalog.tasks.create({
      kind: 'verify',
      subject: { type: 'restore_point', id: 'q' },
      args: { context_id: 'ctx-2' },
      requestedBy: 'x',
    });
    for (const { id, args } of [go, lost]) {
      await catalog.tasks.changeState(id, { state: 'running' });
      const contextId = String(args['context_id']);
      const mode = id === go.id ? 'exclusive' : 'shared';
      await catalog.chainLocks.acquire({ contextId, repositoryId: 'repo', mode, purpose: 'x', holderId: id });
    }
    await stop();
    await start();
    expect(await catalog.tasks.get(lost.id)).toMatchObject({
      state: 'failed',
      error: { code: 'hub_restarted' },
    });
    await running(remove, go);
    expect(await catalog.chainLocks.list()).toMatchObject([{ holderId: go.id }]);
    await runner[Symbol.asyncDispose]();
    await expect(ask('remove')).rejects.toMatchObject({ code: 'shutting_down' });
  });
});
