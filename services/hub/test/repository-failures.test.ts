import { execFileSync } from 'node:child_process';
import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { requires, requiresAbility, temporaryDirectory } from '@sendense/runtime/testing';
import { ProtectedVm } from './stage/protected-vm.js';
import type { Spine, SpineOptions } from './stage/spine.js';
import { mountTmpfs, whyNoMount } from './stage/tmpfs.js';

const MIB = 2 ** 20;
const itOnTmpfs = requiresAbility(it, whyNoMount());

requires(
  describe,
  'qemu-nbd',
  'qemu-img',
)('a backup into a repository that fails', () => {
  let world: ProtectedVm;
  let spine: Spine;
  let contextId: string;

  async function setUp(options: SpineOptions = {}): Promise<void> {
    spine = await world.setUp(options);
    ({ contextId } = world);
  }

  beforeEach(async () => {
    world = await ProtectedVm.create();
  });

  afterEach(async () => {
    await world[Symbol.asyncDispose]();
  });

  it('says that the repository’s directory is gone, and works again once it is back', async () => {
    await setUp();
    const { path } = await spine.repository();
    renameSync(path, `${path}-away`);
    await expect(spine.start(contextId)).rejects.toMatchObject({
      code: 'repository_missing',
      message: expect.stringMatching(new RegExp(`directory ${path} does not exist.*mount it.*install -d`)),
    });
    renameSync(`${path}-away`, path);
    await world.leavesNothing();
    await world.worksAgain();
  });

  it('says that a path cannot be created', async () => {
    await setUp();
    const { path } = await spine.repository();
    mkdirSync(join(path, contextId));
    writeFileSync(join(path, contextId, 'disk-0'), 'a file in the way');
    await expect(spine.start(contextId)).rejects.toMatchObject({
      code: 'target_create_failed',
      message: expect.stringMatching(
        new RegExp(`${contextId}/disk-0.* cannot be created in repository repo-.*Remove what is in its way`),
      ),
    });
    rmSync(join(path, contextId, 'disk-0'));
    await world.leavesNothing();
  });

  itOnTmpfs('says that the repository cannot be written, and works again once it can', async () => {
    using folder = temporaryDirectory('sdm');
    await using mount = mountTmpfs(folder.path, '200m');
    await setUp({ repositoryPath: mount.path });
    execFileSync('mount', ['-o', 'remount,ro', mount.path]);
    await expect(spine.start(contextId)).rejects.toMatchObject({
      code: 'repository_not_writable',
      message: expect.stringMatching(new RegExp(`${mount.path} is not writable.*read-only.*Fix it with`)),
    });
    execFileSync('mount', ['-o', 'remount,rw', mount.path]);
    await world.leavesNothing();
    await world.worksAgain();
    await spine[Symbol.asyncDispose]();
  });

  itOnTmpfs('says that the repository is full before it begins', async () => {
    using folder = temporaryDirectory('sdm');
    await using small = mountTmpfs(folder.path, '40m');
    await setUp({ repositoryPath: small.path });
    await expect(spine.start(contextId)).rejects.toMatchObject({
      code: 'repository_full',
      message: expect.stringMatching(new RegExp(`${small.path}.* has \\d+ MiB left.*Free space there`)),
    });
    await world.leavesNothing();
    await spine[Symbol.asyncDispose]();
  });

  itOnTmpfs('ends with repository_full when the space runs out in the middle', async () => {
    using folder = temporaryDirectory('sdm');
    await using small = mountTmpfs(folder.path, '80m');
    await setUp({ repositoryPath: small.path });
    const big = world.node.addVm('big', [{ key: 2000, sizeBytes: 100 * MIB }]);
    big.disk(2000).fill(0, 100 * MIB);
    const { id } = await spine.start(await spine.protect(big));
    expect(await spine.end(id)).toMatchObject({
      state: 'failed',
      error: {
        code: 'repository_full',
        message: expect.stringMatching(new RegExp(`${small.path}.*Free space there`)),
      },
    });
    await world.leavesNothing();
    await world.worksAgain();
    await spine[Symbol.asyncDispose]();
  });
});
