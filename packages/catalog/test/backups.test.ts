import { expect, it } from '@jest/globals';
import { SendenseError } from '@sendense/core';
import { toStoredError } from '../src/index.js';
import { describeOnEach } from './databases.js';
import { GIB, Stage } from './stage.js';

const failure = toStoredError(new SendenseError('qemu_nbd_died', 'it died', { context: { pid: 5 } }));

describeOnEach('a backup', () => {
  it('goes from queued to a restore point that holds what was recorded on the way', async () => {
    await using stage = await Stage.open();
    const { vm, repositoryId } = await stage.addVm();
    const backup = await stage.begin(vm, repositoryId);
    expect(backup.id).toBe(`backup-pgtest1-${backup.stamp}`);
    expect(backup).toMatchObject({
      state: 'queued',
      contextId: vm.contextId,
      nodeName: 'node-1',
      snapshot: undefined,
    });
    await stage.runToSealing(backup);
    expect(await stage.catalog.backups.get(backup.id)).toMatchObject({
      state: 'sealing',
      startedAt: expect.any(Date),
      lastEventSequence: 7,
      snapshot: { moref: 'snapshot-58', quiesced: true, removedAt: undefined },
      disks: [
        { diskKey: 2000, status: 'qemu_started', qemuNbdPid: 4711, nbdPort: 10_100, bytesDone: 2 * GIB },
        { diskKey: 2001, status: 'qemu_started', nbdPort: 10_101 },
      ],
    });
    await stage.catalog.backups.recordSnapshotRemoved(backup.id);
    const point = await stage.seal(backup);
    expect(point).toMatchObject({
      id: backup.id,
      type: 'full',
      quiesced: true,
      vmInstanceUuid: vm.instanceUuid,
      disks: [
        {
          diskKey: 2000,
          changeId: '52 aa/2000',
          capacityBytes: 102 * GIB,
          bytesRead: 2 * GIB,
          storedBytes: GIB,
        },
        { diskKey: 2001, changeId: '52 aa/2001' },
      ],
    });
    expect(await stage.catalog.backups.get(backup.id)).toMatchObject({
      state: 'completed',
      endedAt: expect.any(Date),
      restorePointId: backup.id,
      snapshot: { removedAt: expect.any(Date) },
      disks: [{ status: 'completed', qcow2Path: '/backup/disk-0.qcow2' }, { status: 'completed' }],
    });
    expect(await stage.catalog.restorePoints.latest(vm.contextId, repositoryId)).toEqual(point);
    expect((await stage.catalog.repositories.get(repositoryId)).backupCount).toBe(1);
  });

  it('becomes a full on a disk whose changes turn out not to be known, and says why', async () => {
    await using stage = await Stage.open();
    const { vm, repositoryId } = await stage.addVm();
    const { backups, restorePoints } = stage.catalog;
    const first = await stage.begin(vm, repositoryId);
    await stage.runToSealing(first);
    await stage.seal(first);
    const backup = await backups.begin({
      ...{ contextId: vm.contextId, repositoryId, type: 'incremental', quiesce: false, requestedBy: 'test' },
      disks: vm.disks.map(({ diskId }) => ({
        ...{ diskId, backupType: 'incremental', reason: 'changed_blocks' },
        ...{ parentPointId: first.id, previousChangeId: '52 aa/1' },
      })),
    });
    await stage.runToSealing(backup);
    const detail = 'the changeId is of an earlier life';
    await backups.becomeFull(backup.id, 2000, { reason: 'change_id_stale', detail });
    await backups.becomeFull(backup.id, 2000, { reason: 'later' });
    await expect(backups.becomeFull(backup.id, 9999, { reason: 'x' })).rejects.toMatchObject({
      code: 'job_not_found',
    });
    expect((await backups.get(backup.id)).disks).toMatchObject([
      {
        ...{ backupType: 'full', reason: 'change_id_stale', reasonDetail: detail },
        ...{ parentPointId: undefined, previousChangeId: undefined, status: 'qemu_started' },
      },
      { backupType: 'incremental', parentPointId: first.id, reasonDetail: undefined },
    ]);
    expect(await stage.seal(backup)).toMatchObject({
      type: 'incremental',
      disks: [
        { backupType: 'full', reason: 'change_id_stale', parentPointId: undefined },
        { backupType: 'incremental', parentPointId: first.id },
      ],
    });
    expect(await restorePoints.children(first.id)).toHaveLength(1);
    await expect(backups.becomeFull(backup.id, 2001, { reason: 'late' })).rejects.toMatchObject({
      code: 'conflict',
    });
  });

  it('ends with its unfinished disks when it fails or is cancelled, and never moves again', async () => {
    await using stage = await Stage.open();
    const { vm, repositoryId } = await stage.addVm();
    const { backups } = stage.catalog;
    const failed = await stage.begin(vm, repositoryId);
    await stage.runToSealing(failed);
    await backups.changeDisk(failed.id, 2000, {
      status: 'failed',
      error: { ...failure, code: 'nbd_write_failed' },
    });
    expect(await backups.changeState(failed.id, { state: 'failed', error: failure })).toMatchObject({
      state: 'failed',
      error: { code: 'qemu_nbd_died', message: 'it died', context: { pid: '5' } },
      disks: [
        { status: 'failed', error: { code: 'nbd_write_failed' }, qcow2Path: '/backup/disk-0.qcow2' },
        { status: 'failed', error: { code: 'qemu_nbd_died' }, qemuNbdPid: 4711 },
      ],
    });
    const conflict = { code: 'conflict' };
    await expect(stage.seal(failed)).rejects.toMatchObject(conflict);
    await expect(backups.changeState(failed.id, { state: 'running' })).rejects.toMatchObject(conflict);
    await expect(backups.changeDisk(failed.id, 2000, { status: 'queued' })).rejects.toMatchObject(conflict);

    const cancelled = await stage.begin(vm, repositoryId);
    await backups.changeState(cancelled.id, { state: 'cancelling', cancelReason: 'asked by alice' });
    expect(
      await backups.changeState(cancelled.id, { state: 'cancelled', cancelReason: 'later' }),
    ).toMatchObject({
      state: 'cancelled',
      cancelReason: 'asked by alice',
      startedAt: undefined,
      disks: [{ status: 'failed', error: { code: 'cancelled' } }, { status: 'failed' }],
    });
  });

  it('says that its snapshot is there until a sweep of its node did not find it, or has removed it', async () => {
    await using stage = await Stage.open();
    const { vm, repositoryId } = await stage.addVm();
    const { backups } = stage.catalog;
    const backup = await stage.begin(vm, repositoryId);
    await stage.runToSealing(backup);
    const isThere = async (o: {
      nodeName?: string;
      endedJob?: string;
      removed?: string[];
      left?: string[];
    }) => {
      await backups.recordSnapshotsSwept(vm.contextId, { nodeName: 'node-1', removed: [], left: [], ...o });
      return (await backups.get(backup.id)).snapshot!.removedAt === undefined;
    };
    // It may be read at this moment.
    expect(await isThere({})).toBe(true);
    await backups.changeState(backup.id, { state: 'failed', error: failure });
    expect(await isThere({ left: ['snapshot-58'] })).toBe(true);
    expect(await isThere({ nodeName: 'node-2', removed: ['snapshot-57'] })).toBe(true);
    expect(await isThere({})).toBe(false);

    const other = await stage.begin(vm, repositoryId);
    await stage.runToSealing(other);
    const sweep = { nodeName: 'node-1', removed: [], left: [] };
    await backups.recordSnapshotsSwept(vm.contextId, { ...sweep, endedJob: other.id });
    expect((await backups.get(other.id)).snapshot).toMatchObject({ removedAt: expect.any(Date) });
  });

  it('refuses steps that are not possible', async () => {
    await using stage = await Stage.open();
    const { vm, repositoryId } = await stage.addVm();
    const { backups } = stage.catalog;
    const backup = await stage.begin(vm, repositoryId);
    const conflict = { code: 'conflict' };
    await expect(backups.changeState(backup.id, { state: 'sealing' })).rejects.toMatchObject(conflict);
    await expect(backups.changeDisk(backup.id, 2000, { status: 'copying' })).rejects.toMatchObject(conflict);
    await expect(
      backups.changeDisk(backup.id, 2000, { status: 'qemu_started', qemuNbdPid: 1 }),
    ).rejects.toMatchObject(conflict);
    await expect(stage.seal(backup)).rejects.toMatchObject(conflict);
    await expect(backups.changeDisk(backup.id, 9999, { status: 'queued' })).rejects.toMatchObject({
      code: 'job_not_found',
    });
    for (const call of [
      () => backups.get('none'),
      () => backups.changeState('none', { state: 'preparing' }),
      () => backups.recordProgress('none', {}),
      () => backups.recordSnapshotRemoved('none'),
      () => backups.addWarning('none', failure),
    ])
      await expect(call()).rejects.toMatchObject({ code: 'job_not_found' });
  });

  it('is planned again while it waits', async () => {
    await using stage = await Stage.open();
    const { vm, repositoryId } = await stage.addVm();
    const { backups } = stage.catalog;
    const backup = await stage.begin(vm, repositoryId);
    const [first] = vm.disks;
    const planned = { diskId: first!.diskId, backupType: 'full', reason: 'disk_resized' } as const;
    expect((await backups.replan(backup.id, [planned])).disks).toMatchObject([
      { diskKey: 2000, reason: 'disk_resized' },
    ]);
    await expect(backups.replan(backup.id, [{ ...planned, diskId: 'none' }])).rejects.toMatchObject({
      code: 'disk_set_changed',
    });
    expect((await backups.get(backup.id)).disks).toHaveLength(1);
    await backups.changeState(backup.id, { state: 'preparing' });
    await backups.changeState(backup.id, { state: 'running' });
    await expect(backups.replan(backup.id, [planned])).rejects.toMatchObject({ code: 'conflict' });
  });

  it('keeps its warnings in order and its event number ascending', async () => {
    await using stage = await Stage.open();
    const { vm, repositoryId } = await stage.addVm();
    const { backups } = stage.catalog;
    const { id } = await stage.begin(vm, repositoryId);
    await Promise.all(
      ['a', 'b', 'c'].map((code) => backups.addWarning(id, { code, message: code, context: {} })),
    );
    await backups.recordProgress(id, { lastEventSequence: 9 });
    await backups.recordProgress(id, { lastEventSequence: 4 });
    const record = await backups.get(id);
    expect(record.warnings.map((warning) => warning.code)).toEqual(['a', 'b', 'c']);
    expect(record.lastEventSequence).toBe(9);
  });
});
