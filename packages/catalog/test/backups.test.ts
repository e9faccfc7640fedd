import { join } from 'node:path';
import { expect, it } from '@jest/globals';
import { SendenseError } from '@sendense/core';
import { ChildProcess, silentLogger as log } from '@sendense/runtime';
import { toStoredError, type BackupRecord, type SealedDisk } from '../src/index.js';
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

describeOnEach('several backups', () => {
  it('of one VM: one wins, in this process and against others', async () => {
    await using stage = await Stage.open();
    const { vm, repositoryId } = await stage.addVm();
    const results = await Promise.allSettled(Array.from({ length: 8 }, () => stage.begin(vm, repositoryId)));
    const won = results.filter((result) => result.status === 'fulfilled').map((result) => result.value);
    expect(won).toHaveLength(1);
    for (const result of results)
      if (result.status === 'rejected')
        expect(result.reason).toMatchObject({
          code: 'backup_already_running',
          context: { backup_id: won[0]!.id },
        });
    await stage.catalog.backups.changeState(won[0]!.id, { state: 'failed', error: failure });

    const script = join(import.meta.dirname, 'begin-backup.js');
    const args = [script, stage.directory, vm.contextId, repositoryId];
    const others = await Promise.all(
      Array.from({ length: 3 }, () =>
        ChildProcess.spawn(process.execPath, args, {
          name: 'begin',
          env: stage.environment,
          owner: `test-catalog-${process.pid}`,
          log,
        }),
      ),
    );
    const said = await Promise.all(others.map(async (other) => (await other.exited, other.stderrTail())));
    expect(said.sort()).toEqual(['backup_already_running', 'backup_already_running', 'began']);
    expect(await stage.catalog.backups.active()).toHaveLength(1);
  });

  it('of VMs that share a name in the same second have ids of their own', async () => {
    await using stage = await Stage.open();
    const repositoryId = await stage.addRepository();
    const ids = new Set<string>();
    const stamps: string[] = [];
    const { vm } = await stage.addVm();
    for (let index = 0; index < 4; index++) {
      const backup = await stage.begin(vm, repositoryId);
      ids.add(backup.id);
      stamps.push(backup.stamp);
      await stage.catalog.backups.changeState(backup.id, { state: 'failed', error: failure });
    }
    expect(ids.size).toBe(4);
    expect(new Set(stamps).size).toBe(4);
    for (const stamp of stamps) expect(stamp).toMatch(/^\d{8}-\d{6}(-\d+)?$/);
  });

  it('are listed in pages that neither repeat nor miss one while others come', async () => {
    await using stage = await Stage.open();
    const { vm, repositoryId } = await stage.addVm('pg', 1);
    const { backups } = stage.catalog;
    const make = async (): Promise<BackupRecord> => {
      const backup = await stage.begin(vm, repositoryId);
      return backups.changeState(backup.id, { state: 'failed', error: failure });
    };
    const made: string[] = [];
    for (let index = 0; index < 23; index++) made.push((await make()).id);
    const seen: string[] = [];
    let cursor: string | undefined;
    do {
      const page = await backups.list({ limit: 5, ...(cursor ? { cursor } : {}) });
      seen.push(...page.items.map((backup) => backup.id));
      cursor = page.nextCursor;
      await make();
    } while (cursor);
    expect(seen.filter((id) => made.includes(id)).sort()).toEqual([...made].sort());
    expect(new Set(seen).size).toBe(seen.length);
    const times = await Promise.all(seen.map(async (id) => (await backups.get(id)).createdAt.getTime()));
    expect(times).toEqual([...times].sort((a, b) => b - a));
    expect((await backups.list({ states: ['completed'] })).items).toEqual([]);
    expect(
      (await backups.list({ vmName: 'pg', states: ['failed'], limit: 1000 })).items.length,
    ).toBeGreaterThan(23);
    expect((await backups.list({ vmName: 'other' })).items).toEqual([]);
    expect(await backups.countByState()).toMatchObject({ queued: 0, completed: 0 });
    for (const bad of [{ limit: 0 }, { limit: 1.5 }, { limit: 9999 }, { cursor: 'x' }, { cursor: '' }])
      await expect(backups.list(bad)).rejects.toMatchObject({ code: 'invalid_argument' });
  });

  it('that have not ended are found after a restart, oldest first', async () => {
    await using stage = await Stage.open();
    const first = await stage.addVm('first', 1);
    const second = await stage.addVm('second', 1);
    const a = await stage.begin(first.vm, first.repositoryId);
    const b = await stage.begin(second.vm, second.repositoryId);
    await stage.runToSealing(a);
    const catalog = await stage.reopen();
    expect((await catalog.backups.active()).map((backup) => [backup.id, backup.state])).toEqual([
      [a.id, 'sealing'],
      [b.id, 'queued'],
    ]);
  });

  it('in their hundreds do not slip into each other: a failed transaction takes nothing else with it', async () => {
    await using stage = await Stage.open();
    const { vm, repositoryId } = await stage.addVm();
    const backup = await stage.begin(vm, repositoryId);
    const work = Array.from({ length: 200 }, (_, index) =>
      index % 2 === 0
        ? stage.begin(vm, repositoryId).catch(() => 'refused')
        : stage.catalog.audit.append({ action: 'test', actor: `n${index}`, outcome: 'ok' }),
    );
    await Promise.all(work);
    expect((await stage.catalog.audit.list({ limit: 1000 })).items).toHaveLength(100);
    expect((await stage.catalog.backups.active()).map(({ id }) => id)).toEqual([backup.id]);
  });
});
