import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { openCatalog, type Catalog } from '@sendense/catalog';
import { SendenseError } from '@sendense/core';
import { silentLogger as log } from '@sendense/runtime';
import { ChainLocks, type ChainLockRequest } from './locks.js';

describe('locks of chains', () => {
  let folder: string;
  let catalog: Catalog;
  let locks: ChainLocks;

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'sdl-'));
    catalog = await openCatalog({ directory: folder, log });
    locks = new ChainLocks({ catalog, log });
  });
  afterEach(async () => {
    await catalog[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  const request = (holderId: string, mode: 'shared' | 'exclusive' = 'shared'): ChainLockRequest => ({
    ...{ contextId: 'ctx-1', repositoryId: 'repo', purpose: mode === 'shared' ? 'verify' : 'remove' },
    ...{ mode, holderId },
  });

  it('are shared by readers, and refused to a writer with the names of all of them', async () => {
    await using _first = await locks.acquire(request('task-1'));
    await using _second = await locks.acquire(request('task-2'));
    await expect(locks.acquire(request('task-3', 'exclusive'))).rejects.toMatchObject({
      code: 'chain_busy',
      message: expect.stringMatching(/task-1.*task-2/),
    });
  });

  it('are given to one that waits when the last in its way is gone', async () => {
    const first = await locks.acquire(request('task-1'));
    const second = await locks.acquire(request('task-2'));
    const told: string[] = [];
    const waiting = Promise.withResolvers<void>();
    const signal = new AbortController().signal;
    const onWaiting = (what: string) => {
      told.push(what);
      waiting.resolve();
    };
    const third = locks.acquire(request('task-3', 'exclusive'), { signal, onWaiting });
    await waiting.promise;
    await first[Symbol.asyncDispose]();
    await second[Symbol.asyncDispose]();
    await using lock = await third;
    expect(lock.request.holderId).toBe('task-3');
    expect(told[0]).toBe('verify task-1, verify task-2');
    await expect(locks.acquire(request('task-4'))).rejects.toMatchObject({ code: 'chain_busy' });
  });

  it('are not waited for any longer than the caller wants', async () => {
    await using _held = await locks.acquire(request('task-1', 'exclusive'));
    const abort = new AbortController();
    const reason = new SendenseError('cancelled', 'enough');
    const onWaiting = () => abort.abort(reason);
    await expect(locks.acquire(request('task-2'), { signal: abort.signal, onWaiting })).rejects.toBe(reason);
    expect(await catalog.chainLocks.list()).toHaveLength(1);
  });

  it('that are kept outlive their holder, who gets them again', async () => {
    {
      await using lock = await locks.acquire(request('task-1', 'exclusive'));
      lock.keep();
    }
    await expect(locks.acquire(request('task-2'))).rejects.toMatchObject({ code: 'chain_busy' });
    {
      await using _again = await new ChainLocks({ catalog, log }).acquire(request('task-1', 'exclusive'));
    }
    await using _free = await locks.acquire(request('task-2'));
  });

  it('of tasks that do not go on are free at the start, those of backups are not touched', async () => {
    for (const [holderId, purpose] of [
      ['task-1', 'remove'],
      ['task-2', 'verify'],
      ['backup-1', 'backup'],
    ] as const)
      await catalog.chainLocks.acquire({ ...request(holderId), contextId: holderId, purpose });
    await locks.releaseEndedTasks(new Set(['task-1']));
    expect((await catalog.chainLocks.list()).map(({ holderId }) => holderId)).toEqual(['task-1', 'backup-1']);
  });
});
