import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import type { RestorePointRecord } from '@sendense/catalog';
import { QemuImg } from '@sendense/qemu';
import type { PortRange } from '@sendense/runtime';
import { eventually, requires } from '@sendense/runtime/testing';
import { FakeNode } from './stage/fake-node.js';
import type { FakeVm } from './stage/fake-vm.js';
import { freePortRange, NOTHING_LEFT, Spine } from './stage/spine.js';

const MIB = 2 ** 20;

requires(
  describe,
  'qemu-nbd',
  'qemu-img',
)('a hub that ended while it published a backup', () => {
  let folder: string;
  let ports: PortRange;
  let node: FakeNode;
  let vm: FakeVm;
  let contextId: string;

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'sdk-'));
    ports = await freePortRange(4);
    node = await FakeNode.start();
    vm = node.addVm('pgtest1', [
      { key: 2000, sizeBytes: 4 * MIB },
      { key: 2001, sizeBytes: 2 * MIB },
    ]);
    await using spine = await Spine.start(node, { folder, ports });
    contextId = await spine.protect(vm);
  });

  afterEach(async () => {
    await node[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  const partial = (path: string) => renameSync(path, `${path}.partial`);
  const steps: [string, (files: PublishedPaths) => void][] = [
    [
      'had only decided to',
      ({ images, hashes, manifest }) => [...images, ...hashes, manifest].forEach(partial),
    ],
    ['had renamed some of the files', ({ hashes, manifest }) => [...hashes, manifest].forEach(partial)],
    ['had renamed all files but the manifest', ({ manifest }) => partial(manifest)],
    ['had not told the catalogue', () => undefined],
  ];

  interface PublishedPaths {
    readonly images: string[];
    readonly hashes: string[];
    readonly manifest: string;
  }

  it.each(steps)('finishes it when it %s', async (_, undo) => {
    const { point, repository } = await sealedThenUndone(undo);
    await using spine = await Spine.start(node, { folder, ports });
    const again = await spine.catalog.restorePoints.get(point.id);
    expect({ ...again, sealedAt: 0 }).toEqual({ ...point, sealedAt: 0 });
    expect(await spine.catalog.backups.get(point.id)).toMatchObject({ state: 'completed' });
    expect(await spine.files()).toHaveLength(5);
    for (const disk of again.disks) {
      const raw = join(folder, 'source.raw');
      writeFileSync(raw, vm.disk(disk.diskKey).content);
      const formats = { formatA: 'qcow2', formatB: 'raw' } as const;
      expect(await new QemuImg({}).compare(join(repository, disk.imagePath), raw, formats)).toMatchObject({
        identical: true,
      });
    }
    await eventually('nothing is left', async () => {
      expect(await spine.leftovers(node)).toEqual(NOTHING_LEFT);
      return true;
    });
    const next = await spine.backUp(contextId, { type: 'incremental' });
    expect(next).toMatchObject({ state: 'completed', disks: [{ backupType: 'incremental' }, {}] });
  });

  it('fails it when a file of it has gone meanwhile', async () => {
    const { point } = await sealedThenUndone(({ images, manifest }) => {
      rmSync(images[0]!);
      partial(manifest);
    });
    await using spine = await Spine.start(node, { folder, ports });
    expect(await spine.catalog.backups.get(point.id)).toMatchObject({
      state: 'failed',
      error: { code: 'manifest_invalid' },
    });
    expect(await spine.files()).toEqual([]);
  });

  it('waits for the repository to come back before it finishes or removes anything', async () => {
    const { point, repository } = await sealedThenUndone(({ manifest }) => partial(manifest));
    renameSync(repository, `${repository}-away`);
    await using spine = await Spine.start(node, { folder, ports });
    expect(await spine.catalog.backups.get(point.id)).toMatchObject({ state: 'sealing' });
    renameSync(`${repository}-away`, repository);
    await eventually(
      'it is finished',
      async () => (await spine.catalog.backups.get(point.id)).state === 'completed',
    );
  });

  it('does then what follows every backup: retention', async () => {
    const { point } = await sealedThenUndone(({ manifest }) => partial(manifest));
    const followed: string[][] = [];
    await using spine = await Spine.start(node, {
      ...{ folder, ports },
      onCompleted: (...chain) => Promise.resolve(void followed.push(chain)),
    });
    await eventually('retention was asked', () => followed.length > 0);
    expect(await spine.catalog.backups.get(point.id)).toMatchObject({ state: 'completed' });
    expect(followed).toEqual([[contextId, point.repositoryId]]);
  });

  /** A sealed backup, put back to where a crash would have left it. */
  async function sealedThenUndone(
    undo: (files: PublishedPaths) => void,
  ): Promise<{ point: RestorePointRecord; repository: string }> {
    const { point, repository } = await (async () => {
      await using spine = await Spine.start(node, { folder, ports });
      const { id } = await spine.backUp(contextId);
      const { path } = await spine.repository();
      return { point: await spine.catalog.restorePoints.get(id), repository: path };
    })();
    undo({
      images: point.disks.map(({ imagePath }) => join(repository, imagePath)),
      hashes: point.disks.map(({ hashesPath }) => join(repository, hashesPath!)),
      manifest: join(repository, point.manifestPath),
    });
    using database = new DatabaseSync(join(folder, 'data', 'catalog.db'));
    database.exec(`
      DELETE FROM restore_point_disks; DELETE FROM restore_points;
      UPDATE backup_jobs SET state = 'sealing', ended_at = NULL, active_context_id = context_id;
      UPDATE backup_disks SET status = 'copied';
    `);
    return { point, repository };
  }
});
