import { existsSync, mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { openCatalog, type RestorePointRecord } from '@sendense/catalog';
import { QemuImg } from '@sendense/qemu';
import { silentLogger as log } from '@sendense/runtime';
import { requires, temporaryDirectory } from '@sendense/runtime/testing';
import { removePoint } from '../src/chains/remove-point.js';
import { Repositories } from '../src/repositories/repositories.js';
import { formatManifest, type Manifest } from '../src/runs/manifest.js';
import { ChainStage, type ChainVm } from './stage/chain-stage.js';
import { NOTHING, rescan } from './stage/rescan.js';

const MIB = 2 ** 20;

requires(
  describe,
  'qemu-img',
  'qemu-io',
)('a rescan', () => {
  let stage: ChainStage;
  let vm: ChainVm;
  let points: RestorePointRecord[];

  beforeEach(async () => {
    stage = await ChainStage.create();
    vm = stage.vm('pgtest1', [MIB]);
    vm.disks[0]!.fill(0, 128 * 1024);
    points = [await vm.seal('full')];
    vm.disks[0]!.fill(0, 64 * 1024, 'changed');
    points.push(await vm.seal('incremental'), await vm.seal('incremental'));
  });
  afterEach(() => stage[Symbol.asyncDispose]());

  const scan = () => rescan(stage.catalog, stage.repositories, stage.repository.id);
  /** A catalogue that knows nothing, and the repository added to it. */
  async function startAnew(hubId = 'hub', adopt = false) {
    const folder = temporaryDirectory('sdf');
    const catalog = await openCatalog({ directory: folder.path, log });
    const repositories = new Repositories({ catalog, hubId, ownDirectories: [folder.path], log });
    const dispose = async () => {
      await catalog[Symbol.asyncDispose]();
      folder[Symbol.dispose]();
    };
    const add = () => repositories.add({ name: 'x', type: 'local', path: stage.repository.path, adopt });
    return { catalog, repositories, add, [Symbol.asyncDispose]: dispose };
  }
  const manifestOf = (point: RestorePointRecord) =>
    vm.manifests.find(({ backup_id }) => backup_id === point.id)!;
  function write(manifest: Manifest, path = `${vm.contextId}/manifests/${manifest.backup_id}.json`): string {
    mkdirSync(dirname(stage.at(path)), { recursive: true });
    writeFileSync(stage.at(path), formatManifest(manifest));
    return path;
  }
  const ids = () => points.map(({ id }) => id);

  it('finds nothing to do where catalogue and repository agree', async () => {
    expect(await scan()).toMatchObject({ ...NOTHING, points_known: ids().toSorted().toReversed() });
  });

  it('rebuilds a lost catalogue from the directory alone', async () => {
    await using anew = await startAnew();
    const { record } = await anew.add();
    expect(record.id).toBe(stage.repository.id);
    expect(await rescan(anew.catalog, anew.repositories, record.id)).toMatchObject({
      ...NOTHING,
      points_added: ids(),
    });
    const found = await anew.catalog.restorePoints.ofContext(vm.contextId, record.id);
    expect(found).toEqual(points.toReversed());
    expect(await anew.catalog.vms.get(vm.contextId)).toMatchObject({
      ...{ name: 'pgtest1', vcenterId: undefined, instanceUuid: 'uuid-of-pgtest1' },
      disks: [{ diskNumber: 0, diskKey: 2000, capacityBytes: MIB }],
    });
    expect(await rescan(anew.catalog, anew.repositories, record.id)).toMatchObject({
      ...NOTHING,
      counts: { points_known: 3, points_added: 0 },
    });
  });

  it('takes over a repository of another hub only when it is told to', async () => {
    {
      await using careful = await startAnew('another hub');
      await expect(careful.add()).rejects.toMatchObject({
        code: 'repository_in_use',
        message: expect.stringContaining('--adopt'),
      });
      expect(await careful.catalog.repositories.list()).toEqual([]);
    }
    await using told = await startAnew('another hub', true);
    const { record, status } = await told.add();
    expect([record.id, status.available]).toEqual([stage.repository.id, true]);
    expect((await rescan(told.catalog, told.repositories, record.id))['points_added']).toHaveLength(3);
  });

  it('does not take a copy of a repository for the repository', async () => {
    const path = join(stage.folder, 'copy');
    mkdirSync(path);
    const mark = { schema: 1, repository_id: stage.repository.id, hub_id: 'hub' };
    writeFileSync(join(path, '.sendense-repository.json'), JSON.stringify(mark));
    await expect(stage.repositories.add({ name: 'copy', type: 'local', path })).rejects.toMatchObject({
      code: 'repository_in_use',
      message: expect.stringContaining('copy'),
    });
    writeFileSync(
      join(path, '.sendense-repository.json'),
      JSON.stringify({ ...mark, repository_id: '../x' }),
    );
    await expect(stage.repositories.add({ name: 'copy', type: 'local', path })).rejects.toMatchObject({
      code: 'manifest_invalid',
    });
  });

  it('reports what is missing, marks it as suspect, and deletes nothing', async () => {
    const [full, middle, last] = points as [RestorePointRecord, RestorePointRecord, RestorePointRecord];
    rmSync(stage.at(middle.disks[0]!.hashesPath!));
    rmSync(stage.at(last.manifestPath));
    const result = await scan();
    expect(result).toMatchObject({ points_known: [full.id], damaged: [] });
    expect(new Set(result['points_missing'] as string[])).toEqual(new Set([middle.id, last.id]));
    // What the lost manifest named.
    expect(result['strangers']).toHaveLength(2);
    const now = await stage.catalog.restorePoints.ofContext(vm.contextId, stage.repository.id);
    expect(now.map(({ suspect }) => suspect)).toEqual([true, true, false]);
    expect(now[1]!.suspectReason).toContain('.hashes');
    rmSync(stage.at(vm.contextId), { recursive: true });
    expect((await scan())['points_missing']).toHaveLength(3);
    expect(await stage.catalog.restorePoints.ofContext(vm.contextId, stage.repository.id)).toHaveLength(3);
  });

  it('says nothing of points when the whole repository is not there', async () => {
    renameSync(stage.repository.path, `${stage.repository.path}.away`);
    mkdirSync(stage.repository.path);
    await expect(scan()).rejects.toMatchObject({ code: 'repository_missing' });
    const now = await stage.catalog.restorePoints.ofContext(vm.contextId, stage.repository.id);
    expect(now.some(({ suspect }) => suspect)).toBe(false);
  });

  it('reports strangers and unfinished files, and touches none', async () => {
    const strangers = [
      'notes.txt',
      `${vm.contextId}/readme`,
      `${vm.contextId}/disk-0/backup-x.qcow2`,
      `${vm.contextId}/manifests/x.txt`,
    ];
    const partial = [
      '.x.json.0123.partial',
      `${vm.contextId}/disk-0/old.qcow2.partial`,
      `${vm.contextId}/manifests/x.json.partial`,
    ];
    mkdirSync(stage.at('lost+found'), { mode: 0o000 });
    symlinkSync('/etc', stage.at('link'));
    symlinkSync('/etc/passwd', stage.at(`${vm.contextId}/disk-0/passwd.qcow2`));
    for (const path of [...strangers, ...partial]) writeFileSync(stage.at(path), '');
    const result = await scan();
    expect(new Set(result['strangers'] as string[])).toEqual(
      new Set([...strangers, 'lost+found', 'link', `${vm.contextId}/disk-0/passwd.qcow2`]),
    );
    expect(new Set(result['partial'] as string[])).toEqual(new Set(partial));
    for (const path of [...strangers, ...partial]) expect(existsSync(stage.at(path))).toBe(true);
  });

  it('takes in nothing that a hostile manifest makes up', async () => {
    const [full, middle] = points as [RestorePointRecord, RestorePointRecord];
    const base = manifestOf(full);
    const disk = base.disks[0]!;
    const made = (id: string, change: Partial<Manifest> & { disk?: Partial<typeof disk> }): Manifest => {
      const folder = `${vm.contextId}/disk-0`;
      const files = { image: `${folder}/${id}.qcow2`, hashes: `${folder}/${id}.hashes` };
      const { disk: more, ...rest } = change;
      return { ...base, backup_id: id, disks: [{ ...disk, ...files, ...more }], ...rest };
    };
    const ring = (id: string, other: string) =>
      made(id, {
        disk: {
          backup_type: 'incremental',
          parent: { backup_id: other, image: `${vm.contextId}/disk-0/${other}.qcow2` },
        },
      });
    const bad = [
      write(made('outside', { disk: { image: `${vm.contextId}/disk-0/../../../etc/x.qcow2` } })),
      write(made('absolute', { disk: { image: '/etc/x.qcow2' } })),
      write(made('other-vm', { context_id: 'ctx-other-1' })),
      write(made('misnamed', {}), `${vm.contextId}/manifests/name.json`),
      write(made('thief', { disk: { disk_id: 'ctx-other-1-disk0' } })),
      write(made('borrower', { disk: { image: disk.image } })),
      write(made('replaced', { disk: { backing_uuid: 'another disk' } })),
      write(made('huge', { disk: { capacity_bytes: Number.MAX_SAFE_INTEGER + 1 } })),
      write(ring('ring-a', 'ring-b')),
      write(ring('ring-b', 'ring-a')),
      write(ring('orphan', 'nobody')),
      write(
        made('liar', {
          disk: {
            backup_type: 'incremental',
            parent: { backup_id: middle.id, image: `${vm.contextId}/disk-0/else.qcow2` },
          },
        }),
      ),
    ];
    writeFileSync(stage.at(`${vm.contextId}/manifests/large.json`), Buffer.alloc(17 * MIB, 32));
    symlinkSync('/dev/zero', stage.at(`${vm.contextId}/manifests/link.json`));
    mkdirSync(stage.at(`${vm.contextId}/manifests/folder.json`));
    bad.push(...['large', 'link', 'folder'].map((name) => `${vm.contextId}/manifests/${name}.json`));
    const result = await scan();
    const damaged = result['damaged'] as { path: string; reason: string }[];
    expect(new Set(damaged.map(({ path }) => path))).toEqual(new Set(bad));
    expect(damaged.every(({ reason }) => reason.length > 5)).toBe(true);
    expect(result).toMatchObject({ points_added: [], points_missing: [], counts: { points_known: 3 } });
  });

  it('takes in a point whose image is gone, in doubt', async () => {
    const [full] = points as [RestorePointRecord];
    renameSync(stage.at(full.disks[0]!.imagePath), join(stage.folder, 'away'));
    await using anew = await startAnew();
    const { record } = await anew.add();
    const result = await rescan(anew.catalog, anew.repositories, record.id);
    expect(result).toMatchObject({
      points_added: ids(),
      damaged: [{ path: full.manifestPath, reason: expect.stringContaining('.qcow2') }],
    });
    expect(await anew.catalog.restorePoints.get(full.id)).toMatchObject({ suspect: true });
  });

  it('finishes a removal that was interrupted, also with a catalogue that knows nothing', async () => {
    const [full, middle, last] = points as [RestorePointRecord, RestorePointRecord, RestorePointRecord];
    renameSync(stage.at(middle.manifestPath), `${stage.at(middle.manifestPath)}.removing`);
    await using anew = await startAnew();
    const { record } = await anew.add();
    const result = await rescan(anew.catalog, anew.repositories, record.id);
    expect(result).toMatchObject({
      ...NOTHING,
      points_added: [full.id, last.id],
      removals_finished: [middle.id],
    });
    const now = await anew.catalog.restorePoints.ofContext(vm.contextId, record.id);
    expect(now.map(({ id, disks }) => [id, disks[0]!.parentPointId])).toEqual([
      [last.id, full.id],
      [full.id, undefined],
    ]);
    writeFileSync(join(stage.folder, 'raw'), vm.disks[0]!.history.get(last.id)!);
    const formats = { formatA: 'qcow2', formatB: 'raw' } as const;
    const image = stage.at(last.disks[0]!.imagePath);
    expect(await stage.images.compare(image, join(stage.folder, 'raw'), formats)).toMatchObject({
      identical: true,
    });
    expect(await rescan(anew.catalog, anew.repositories, record.id)).toMatchObject(NOTHING);
  });

  it('follows the repository when the catalogue is older and knows points that were merged since', async () => {
    const [full, middle, last] = points as [RestorePointRecord, RestorePointRecord, RestorePointRecord];
    await using older = await startAnew();
    const { record } = await older.add();
    await rescan(older.catalog, older.repositories, record.id);
    // The newer hub: both points go into the last one, which stands alone then.
    for (const { id } of [full, middle])
      await removePoint(
        id,
        { catalog: stage.catalog, repositories: stage.repositories, images: new QemuImg() },
        { signal: new AbortController().signal, log, progress: () => undefined, commit: () => undefined },
      );
    await older.catalog.restorePoints.hold(full.id, 'held by the older catalogue');
    const held = await rescan(older.catalog, older.repositories, record.id);
    expect(held).toMatchObject({ points_missing: [full.id], removals_finished: [middle.id] });
    await older.catalog.restorePoints.release(full.id);
    const result = await rescan(older.catalog, older.repositories, record.id);
    expect(result).toMatchObject({
      ...NOTHING,
      points_known: [last.id],
      removals_finished: [full.id],
    });
    expect(await older.catalog.restorePoints.ofContext(vm.contextId, record.id)).toMatchObject([
      {
        id: last.id,
        type: 'full',
        suspect: false,
        disks: [{ backupType: 'full', parentPointId: undefined }],
      },
    ]);
    expect(await rescan(older.catalog, older.repositories, record.id)).toMatchObject(NOTHING);
  });
});
