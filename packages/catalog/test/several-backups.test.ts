import { join } from 'node:path';
import { expect, it } from '@jest/globals';
import { SendenseError } from '@sendense/core';
import { ChildProcess, silentLogger as log } from '@sendense/runtime';
import { toStoredError, type BackupRecord } from '../src/index.js';
import { describeOnEach } from './databases.js';
import { Stage } from './stage.js';

const failure = toStoredError(new SendenseError('qemu_nbd_died', 'it died', { context: { pid: 5 } }));

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
    expect((await backups.list({ state: 'completed' })).items).toEqual([]);
    expect((await backups.list({ vmName: 'pg', state: 'failed', limit: 1000 })).items.length).toBeGreaterThan(
      23,
    );
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
