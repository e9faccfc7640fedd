import { describe, expect, it } from '@jest/globals';
import { openCatalog } from '@sendense/catalog';
import { silentLogger as log } from '@sendense/runtime';
import { temporaryDirectory } from '@sendense/runtime/testing';
import { LocalDirectory } from './local-directory.js';
import { Repositories } from './repositories.js';
import type { RepositoryPlace, RepositoryStatus } from './repository-type.js';

/** A place whose file system stops answering, as that of a server that went away does. */
class HangingDirectory extends LocalDirectory {
  hanging = new Set<string>();
  looked = 0;
  readonly #answer = Promise.withResolvers<RepositoryStatus>();

  override async check(place: RepositoryPlace): Promise<RepositoryStatus> {
    if (!this.hanging.has(place.path)) return super.check(place);
    this.looked += 1;
    return this.#answer.promise;
  }

  async come(place: RepositoryPlace): Promise<void> {
    this.hanging.clear();
    this.#answer.resolve(await super.check(place));
  }
}

describe('repositories', () => {
  it('are listed although one hangs, which is asked once and comes back', async () => {
    using folder = temporaryDirectory('hub');
    using good = temporaryDirectory('good');
    using bad = temporaryDirectory('bad');
    await using catalog = await openCatalog({ directory: folder.path, log });
    const local = new HangingDirectory();
    const repositories = new Repositories({
      ...{ catalog, hubId: 'SHA256:hub', ownDirectories: [folder.path], log },
      types: { local },
    });
    await repositories.add({ name: 'good', type: 'local', path: good.path });
    const { record } = await repositories.add({ name: 'bad', type: 'local', path: bad.path });
    expect((await repositories.usable(record.id)).path).toBe(record.path);

    local.hanging.add(record.path);
    const lists = await Promise.all([repositories.list(), repositories.list(), repositories.list()]);
    for (const list of lists)
      expect(list.map(({ status }) => status)).toMatchObject([
        { available: true },
        { available: false, problem: { code: 'repository_missing', retryable: true } },
      ]);
    await expect(repositories.usable(record.id)).rejects.toMatchObject({
      message: expect.stringContaining('does not answer within 3 s'),
    });
    expect(local.looked).toBe(1);

    await local.come(record);
    expect(await repositories.get(record.id)).toMatchObject({ status: { available: true } });
  });
});
