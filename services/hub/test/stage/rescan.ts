import { expect } from '@jest/globals';
import type { Catalog } from '@sendense/catalog';
import { QemuImg } from '@sendense/qemu';
import { silentLogger as log } from '@sendense/runtime';
import { ChainLocks } from '../../src/chains/locks.js';
import { rescanHandler, rescanTask } from '../../src/chains/rescan-task.js';
import type { Repositories } from '../../src/repositories/repositories.js';

/** Runs the task as the runner would. @returns its result */
export async function rescan(catalog: Catalog, repositories: Repositories, repositoryId: string) {
  const images = new QemuImg();
  const handler = rescanHandler({
    ...{ catalog, repositories },
    locks: new ChainLocks({ catalog, log }),
    removal: { catalog, repositories, images },
  });
  const task = await catalog.tasks.create(rescanTask(repositoryId, 'test'));
  const nothing = () => undefined;
  const context = { signal: new AbortController().signal, log };
  const result = await handler.run(task, { ...context, progress: nothing, soFar: nothing, commit: nothing });
  expect(await catalog.chainLocks.list()).toEqual([]);
  return result;
}

/** The result of one that found everything as it should be. */
export const NOTHING = {
  points_added: [],
  points_missing: [],
  strangers: [],
  damaged: [],
  partial: [],
  removals_finished: [],
};
