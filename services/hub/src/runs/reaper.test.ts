import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { openCatalog, type Catalog } from '@sendense/catalog';
import { SendenseError } from '@sendense/core';
import { silentLogger } from '@sendense/runtime';
import { eventually, temporaryDirectory } from '@sendense/runtime/testing';
import { ChainLocks } from '../chains/locks.js';
import type { NodeClient } from '../node-client.js';
import { Reaper } from './reaper.js';

describe('Reaper', () => {
  let folder: ReturnType<typeof temporaryDirectory>;
  let catalog: Catalog;
  let online: boolean;
  let tries: string[];
  let reaper: Reaper;

  beforeEach(async () => {
    folder = temporaryDirectory();
    catalog = await openCatalog({ directory: folder.path, log: silentLogger });
    online = false;
    tries = [];
    reaper = newReaper(20);
  });

  afterEach(async () => {
    await reaper[Symbol.asyncDispose]();
    await catalog[Symbol.asyncDispose]();
    folder[Symbol.dispose]();
  });

  function newReaper(reaperMs: number): Reaper {
    const forgetJob = async (jobId: string) => {
      tries.push(jobId);
      if (!online) throw new SendenseError('node_offline', 'away');
    };
    const client: Partial<NodeClient> = { forgetJob };
    return new Reaper({
      catalog,
      nodes: {
        isConnected: () => online,
        client: () => client as NodeClient,
        revokeJob: async () => undefined,
      },
      locks: new ChainLocks({ catalog, log: silentLogger }),
      repositories: { usable: async () => Promise.reject(new SendenseError('repository_not_found', 'none')) },
      timing: { reaperMs, reaperMaxMs: reaperMs * 4, nodeCancelMs: 1000 },
      log: silentLogger,
    });
  }

  const forget = (jobId: string, node = 'berlin') =>
    ({ what: 'forget_job', args: { node_name: node, job_id: jobId } }) as const;

  it('does at once what can be done, and records nothing then', async () => {
    online = true;
    await reaper.attempt(forget('a'), 'backup-a');
    expect(tries).toEqual(['a']);
    expect(await catalog.cleanups.list()).toEqual([]);
  });

  it('tries again until it is done', async () => {
    await reaper.attempt(forget('a'), 'backup-a');
    expect(await catalog.cleanups.list()).toMatchObject([
      { what: 'forget_job', backupId: 'backup-a', lastError: { code: 'node_offline' } },
    ]);
    reaper.start();
    await eventually('it was tried several times', () => tries.length >= 4);
    online = true;
    await eventually('it is done', async () => (await catalog.cleanups.list()).length === 0);
  });

  it('waits longer after each failure, up to a limit', async () => {
    reaper = newReaper(1_000_000);
    await reaper.attempt(forget('a'), 'backup-a');
    const pauses: number[] = [];
    for (let attempt = 1; attempt <= 4; attempt++) {
      const before = Date.now();
      reaper.nodeConnected('berlin');
      const record = await eventually('it failed again', async () => {
        const [found] = await catalog.cleanups.list();
        return found?.attempts === attempt ? found : undefined;
      });
      pauses.push(Math.round((record.nextTryAt.getTime() - before) / 1_000_000));
    }
    expect(pauses).toEqual([1, 2, 4, 4]);
  });

  it('tries what is left on a node as soon as that node is back, and no other', async () => {
    reaper = newReaper(1_000_000);
    await reaper.later(forget('a', 'berlin'), 'backup-a', 'test');
    await reaper.later(forget('b', 'paris'), 'backup-b', 'test');
    online = true;
    reaper.nodeConnected('paris');
    await eventually('it is done', async () => (await catalog.cleanups.list()).length === 1);
    expect(tries).toEqual(['b']);
  });

  it('goes on with the others when one of them makes no sense', async () => {
    await catalog.cleanups.add({ what: 'conquer_the_world', args: {} });
    await catalog.cleanups.add({ what: 'forget_job', args: { node_name: 'berlin' } });
    await reaper.later(forget('a'), 'backup-a', 'test');
    online = true;
    reaper.start();
    await eventually('it is done', () => tries.includes('a'));
    await eventually('the others are reported', async () => {
      const left = await catalog.cleanups.list();
      return left.length === 2 && left.every(({ lastError }) => lastError?.code === 'catalog_damaged');
    });
  });
});
