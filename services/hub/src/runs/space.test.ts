import { describe, expect, it } from '@jest/globals';
import { SendenseError } from '@sendense/core';
import { silentLogger } from '@sendense/runtime';
import type { UsableRepository } from './dependencies.js';
import { watchSpace } from './space.js';

const MISSING = new SendenseError('repository_missing', 'it is not mounted');
const GIB = 2 ** 30;

/** What each look finds. @returns the problem, or undefined when all looks were taken without one */
async function watch(looks: readonly (number | SendenseError)[]): Promise<SendenseError | undefined> {
  const { promise, resolve } = Promise.withResolvers<SendenseError | undefined>();
  let taken = 0;
  const repository: UsableRepository = {
    id: 'repo-local-1',
    name: 'main',
    path: '/srv/backup',
    availableBytes: async () => {
      const look = looks[taken++];
      if (look === undefined) resolve(undefined);
      if (look instanceof SendenseError) throw look;
      return Promise.resolve(look ?? GIB);
    },
  };
  await using _watching = watchSpace(repository, { everyMs: 1, log: silentLogger, onProblem: resolve });
  return await promise;
}

describe('the watch over a repository in use', () => {
  it('stops a backup whose repository stays away', async () => {
    expect(await watch([GIB, MISSING, MISSING, MISSING])).toBe(MISSING);
  });

  it('lets a stutter pass', async () => {
    expect(await watch([MISSING, MISSING, GIB, MISSING, MISSING, GIB])).toBeUndefined();
  });

  it('stops a backup before the last space is used', async () => {
    expect(await watch([GIB, 2 ** 20])).toMatchObject({ code: 'repository_full' });
  });
});
