import { expect, it } from '@jest/globals';
import { describeOnEach } from './databases.js';
import { sketch } from './manifests.js';
import { discovered, disk, Stage } from './stage.js';

const CONTEXT = 'ctx-pg-20261101-000000';

describeOnEach('a point that a rescan found', () => {
  it('brings its VM and disks along, once', async () => {
    await using stage = await Stage.open();
    const repositoryId = await stage.addRepository();
    const { restorePoints, vms } = stage.catalog;
    const full = sketch(repositoryId, 0, { parents: [undefined, undefined] });
    const first = await restorePoints.importPoint(full);
    expect(first).toMatchObject({ added: true, contextAdded: true });
    expect(await vms.get(CONTEXT)).toMatchObject({
      name: 'pg',
      vcenterId: undefined,
      powerState: 'unknown',
      changeTracking: { state: 'unknown', detail: '' },
      disks: [
        { diskId: `${CONTEXT}-disk0`, diskKey: 2000, datastore: 'ds1' },
        { diskNumber: 1, diskKey: 2001 },
      ],
    });
    expect(await restorePoints.importPoint(full)).toEqual({
      point: first.point,
      added: false,
      contextAdded: false,
    });
    const next = await restorePoints.importPoint(sketch(repositoryId, 1, { parents: ['p0', undefined] }));
    expect(next).toMatchObject({
      added: true,
      contextAdded: false,
      point: { type: 'incremental', state: 'sealed', suspect: false, disks: [{ parentPointId: 'p0' }, {}] },
    });
    expect(await restorePoints.latest(CONTEXT, repositoryId)).toEqual(next.point);
  });

  it('shows the VM as its newest point does, in whatever order they are found', async () => {
    await using stage = await Stage.open();
    const repositoryId = await stage.addRepository();
    const { restorePoints, vms } = stage.catalog;
    const named = (n: number, name: string, disks: number) => {
      const point = sketch(repositoryId, n, { parents: Array.from({ length: disks }, () => undefined) });
      return { ...point, vm: { ...point.vm, name } };
    };
    await restorePoints.importPoint(named(2, 'new name', 1));
    await restorePoints.importPoint(named(1, 'old name', 2));
    expect(await vms.get(CONTEXT)).toMatchObject({ name: 'new name', disks: [{ diskNumber: 0 }] });
    await restorePoints.importPoint(named(3, 'newest name', 3));
    expect(await vms.get(CONTEXT)).toMatchObject({ name: 'newest name', disks: [{}, {}, { diskNumber: 2 }] });
  });

  it('is taken up by the VM when that is protected again: context, disk numbers and all', async () => {
    await using stage = await Stage.open();
    const repositoryId = await stage.addRepository();
    await stage.catalog.restorePoints.importPoint(
      sketch(repositoryId, 0, { parents: [undefined, undefined] }),
    );
    const vcenterId = await stage.addVcenter();
    const vm = await stage.catalog.vms.protect(vcenterId, {
      ...discovered('pg'),
      disks: [disk(2001), disk(2000, { unitNumber: 7 }), disk(2016)],
    });
    expect(vm).toMatchObject({
      contextId: CONTEXT,
      vcenterId,
      disks: [
        { diskNumber: 0, diskKey: 2000, unitNumber: 7 },
        { diskNumber: 1, diskKey: 2001 },
        { diskNumber: 2, diskKey: 2016 },
      ],
    });
    // And then its own manifests no longer change what discovery has shown.
    const later = sketch(repositoryId, 5);
    await stage.catalog.restorePoints.importPoint({ ...later, vm: { ...later.vm, name: 'other' } });
    expect(await stage.catalog.vms.get(CONTEXT)).toEqual(vm);
  });

  it('is refused when it contradicts what is known, and leaves nothing behind', async () => {
    await using stage = await Stage.open();
    const repositoryId = await stage.addRepository();
    const other = await stage.addRepository('other');
    const { restorePoints, vms } = stage.catalog;
    const good = sketch(repositoryId, 0);
    await restorePoints.importPoint(good);
    const next = sketch(repositoryId, 1);
    const [only] = next.disks;
    for (const [point, code] of [
      [{ ...good, repositoryId: other }, 'conflict'],
      [{ ...good, contextId: 'ctx-other' }, 'conflict'],
      [{ ...good, takenAt: new Date(0) }, 'conflict'],
      [{ ...good, disks: [{ ...good.disks[0]!, imagePath: 'elsewhere.qcow2' }] }, 'conflict'],
      [{ ...next, vm: { ...next.vm, instanceUuid: 'another VM' } }, 'conflict'],
      [{ ...next, contextId: 'ctx-other' }, 'conflict'],
      [{ ...next, disks: [{ ...only!, backingUuid: 'another disk' }] }, 'conflict'],
      [{ ...next, repositoryId: 'none' }, 'repository_not_found'],
      [sketch(repositoryId, 1, { parents: ['p7'] }), 'chain_damaged'],
      [{ ...sketch(other, 1, { parents: ['p0'] }) }, 'chain_damaged'],
      [{ ...next, disks: [] }, 'invalid_argument'],
      [{ ...next, disks: [{ ...only!, backupType: 'incremental' as const }] }, 'invalid_argument'],
    ] as const)
      await expect(restorePoints.importPoint(point)).rejects.toMatchObject({ code });
    expect(await vms.find('ctx-other')).toBeUndefined();
    expect((await restorePoints.list()).items).toHaveLength(1);
  });

  it('is known again after its chain was merged: type, parent and size may differ', async () => {
    await using stage = await Stage.open();
    const repositoryId = await stage.addRepository();
    const { restorePoints } = stage.catalog;
    await restorePoints.importPoint(sketch(repositoryId, 0));
    const child = sketch(repositoryId, 1, { parents: ['p0'] });
    await restorePoints.importPoint(child);
    const merged = { ...child, disks: sketch(repositoryId, 1).disks };
    expect(await restorePoints.importPoint(merged)).toMatchObject({ added: false });
  });

  it('is not taken from a backup that has not ended', async () => {
    await using stage = await Stage.open();
    const { vm, repositoryId } = await stage.addVm('pg', 1);
    const backup = await stage.begin(vm, repositoryId);
    await stage.runToSealing(backup);
    const found = { ...sketch(repositoryId, 0, { contextId: vm.contextId }), id: backup.id };
    await expect(stage.catalog.restorePoints.importPoint(found)).rejects.toMatchObject({
      code: 'conflict',
      message: expect.stringContaining('has not ended'),
    });
    await stage.seal(backup);
  });
});
