import { expect, it } from '@jest/globals';
import type { SealedDisk } from '../src/index.js';
import { describeOnEach } from './databases.js';
import { Stage } from './stage.js';

describeOnEach('the end of a backup', () => {
  it('is sealed once: again gives the same point, also after a restart', async () => {
    await using stage = await Stage.open();
    const { vm, repositoryId } = await stage.addVm();
    const backup = await stage.begin(vm, repositoryId);
    await stage.runToSealing(backup);
    const points = await Promise.all([stage.seal(backup), stage.seal(backup)]);
    expect(points[1]).toEqual(points[0]);
    await stage.reopen();
    expect(await stage.seal(backup)).toEqual(points[0]);
    expect((await stage.catalog.restorePoints.list()).items).toHaveLength(1);
  });

  it('is sealed as a whole or not at all', async () => {
    await using stage = await Stage.open();
    const { vm, repositoryId } = await stage.addVm();
    const backup = await stage.catalog.backups.begin({
      contextId: vm.contextId,
      repositoryId,
      type: 'incremental',
      quiesce: false,
      requestedBy: 'test',
      disks: vm.disks.map(({ diskId }, index) => ({
        diskId,
        backupType: index === 0 ? 'full' : 'incremental',
        reason: 'test',
        // The second disk builds on a point that does not exist: the database refuses it after the first was written.
        ...(index === 0 ? {} : { parentPointId: 'backup-none', previousChangeId: '52/1' }),
      })),
    });
    await stage.runToSealing(backup);
    await expect(stage.seal(backup)).rejects.toMatchObject({
      code: 'conflict',
      context: { backup_id: backup.id },
    });
    expect((await stage.catalog.restorePoints.list()).items).toEqual([]);
    expect(await stage.catalog.backups.get(backup.id)).toMatchObject({
      state: 'sealing',
      disks: [{ status: 'qemu_started' }, {}],
    });
  });

  it('is sealed as its files are, whatever was recorded before', async () => {
    await using stage = await Stage.open();
    const { vm, repositoryId } = await stage.addVm();
    const first = await stage.begin(vm, repositoryId);
    await stage.runToSealing(first);
    await stage.seal(first);
    const backup = await stage.begin(vm, repositoryId);
    await stage.runToSealing(backup);
    const seal = (...ends: Partial<SealedDisk>[]) =>
      stage.catalog.backups.seal(backup.id, {
        takenAt: new Date(),
        manifestPath: 'm',
        disks: ends.map((end, n) => ({ diskKey: 2000 + n, imagePath: `i${n}`, storedBytes: 1, ...end })),
      });
    for (const wrong of [
      { backupType: 'incremental' },
      { backupType: 'full', parentPointId: first.id },
      { parentPointId: first.id },
    ] as const)
      await expect(seal(wrong, {})).rejects.toMatchObject({ code: 'invalid_argument' });
    const incremental = {
      backupType: 'incremental',
      parentPointId: first.id,
      reason: 'changed_blocks',
    } as const;
    expect(await seal(incremental, { backupType: 'full' })).toMatchObject({
      type: 'incremental',
      disks: [incremental, { backupType: 'full', reason: 'requested', parentPointId: undefined }],
    });
    expect((await stage.catalog.backups.get(backup.id)).disks).toMatchObject([
      { ...incremental, status: 'completed' },
      { backupType: 'full', status: 'completed' },
    ]);
  });

  it('is sealed with exactly its disks', async () => {
    await using stage = await Stage.open();
    const { vm, repositoryId } = await stage.addVm();
    const backup = await stage.begin(vm, repositoryId);
    await stage.runToSealing(backup);
    const seal = (keys: number[]) =>
      stage.catalog.backups.seal(backup.id, {
        takenAt: new Date(),
        manifestPath: 'm',
        disks: keys.map((diskKey) => ({ diskKey, imagePath: `i${diskKey}`, storedBytes: 1 })),
      });
    for (const keys of [[], [2000], [2000, 2000], [2000, 2001, 2002], [2000, 2005]])
      await expect(seal(keys)).rejects.toMatchObject({ code: 'invalid_argument' });
    expect((await seal([2001, 2000])).disks.map((disk) => disk.diskKey)).toEqual([2000, 2001]);
  });

  it('leaves skipped disks out of the point', async () => {
    await using stage = await Stage.open();
    const { vm, repositoryId } = await stage.addVm();
    const [first, second] = vm.disks;
    const backup = await stage.catalog.backups.begin({
      ...{ contextId: vm.contextId, repositoryId, type: 'full', quiesce: false, requestedBy: 'test' },
      disks: [
        { diskId: first!.diskId, backupType: 'full', reason: 'requested' },
        { diskId: second!.diskId, backupType: 'full', reason: 'independent', skipped: true },
      ],
    });
    expect(backup.disks).toMatchObject([{ status: 'queued' }, { status: 'skipped', reason: 'independent' }]);
    const taken = { ...backup, disks: backup.disks.slice(0, 1) };
    await stage.runToSealing(taken);
    expect((await stage.seal(taken)).disks).toHaveLength(1);
    expect((await stage.catalog.backups.get(backup.id)).disks[1]).toMatchObject({ status: 'skipped' });
  });
});
