import { expect, it } from '@jest/globals';
import { SendenseError } from '@sendense/core';
import {
  toStoredError,
  type AuditEventRecord,
  type BackupRecord,
  type Page,
  type TaskRecord,
} from '../src/index.js';
import { describeOnEach } from './databases.js';
import { Stage } from './stage.js';

const failure = toStoredError(new SendenseError('qemu_nbd_died', 'it died'));

/** All pages, two rows at a time. */
async function walk<T extends object>(
  list: (o: { limit: number; cursor?: string }) => Promise<Page<T>>,
): Promise<T[]> {
  const all: T[] = [];
  let cursor: string | undefined;
  do {
    const page = await list({ limit: 2, ...(cursor === undefined ? {} : { cursor }) });
    all.push(...page.items);
    cursor = page.nextCursor;
  } while (cursor !== undefined);
  return all;
}

/** Every way to leave some of the filters out. */
function subsets<F extends object>(filters: F): Partial<F>[] {
  return Object.entries(filters).reduce<Partial<F>[]>(
    (sets, [name, value]) => sets.flatMap((set) => [set, { ...set, [name]: value as unknown }]),
    [{}],
  );
}

describeOnEach('pages of a list with filters', () => {
  it('hold the backups that match, in the order of the whole list', async () => {
    await using stage = await Stage.open();
    const { backups } = stage.catalog;
    const vms = [await stage.addVm('pg', 1), await stage.addVm('pg2', 1)];
    for (let index = 0; index < 14; index++) {
      const { vm, repositoryId } = vms[index % 3 === 0 ? 1 : 0]!;
      const { id } = await stage.begin(vm, repositoryId);
      if (index % 2 === 0) await backups.changeState(id, { state: 'failed', error: failure });
      else {
        await backups.changeState(id, { state: 'cancelling', cancelReason: 'x' });
        await backups.changeState(id, { state: 'cancelled', cancelReason: 'x' });
      }
    }
    const all = (await backups.list()).items;
    expect(all).toHaveLength(14);
    const { vm, repositoryId } = vms[0]!;
    const filters = {
      contextId: vm.contextId,
      vmName: vm.name,
      repositoryId,
      state: 'failed' as const,
    };
    for (const filter of subsets(filters)) {
      const matches = (one: BackupRecord) =>
        Object.entries(filter).every(([name, value]) => one[name as keyof BackupRecord] === value);
      const found = await walk((page) => backups.list({ ...filter, ...page }));
      expect({ filter, found: found.map(({ id }) => id) }).toEqual({
        filter,
        found: all.filter(matches).map(({ id }) => id),
      });
    }
  });

  it('hold the tasks that match', async () => {
    await using stage = await Stage.open();
    const { tasks } = stage.catalog;
    for (let index = 0; index < 15; index++) {
      const subject = { type: 'vm' as const, id: `ctx-${index % 2}` };
      const kind = index % 3 === 0 ? 'verify' : 'prune';
      const { id } = await tasks.create({ kind, subject, args: {}, requestedBy: 'test' });
      if (index % 5 > 0) await tasks.changeState(id, { state: 'cancelled' });
    }
    const all = (await tasks.list()).items;
    expect(all).toHaveLength(15);
    const filters = {
      kind: 'prune' as const,
      state: 'cancelled' as const,
      subject: { type: 'vm' as const, id: 'ctx-1' },
    };
    for (const filter of subsets(filters)) {
      const matches = (one: TaskRecord) =>
        (filter.kind === undefined || one.kind === filter.kind) &&
        (filter.state === undefined || one.state === filter.state) &&
        (filter.subject === undefined || one.subject.id === filter.subject.id);
      const found = await walk((page) => tasks.list({ ...filter, ...page }));
      expect({ filter, found: found.map(({ id }) => id) }).toEqual({
        filter,
        found: all.filter(matches).map(({ id }) => id),
      });
    }
  });

  it('hold the lines of audit that match', async () => {
    await using stage = await Stage.open();
    const { audit } = stage.catalog;
    for (let index = 0; index < 16; index++)
      await audit.append({
        action: index % 2 === 0 ? 'backup.start' : 'backup.end',
        actor: index % 3 === 0 ? 'hub' : 'token:a',
        outcome: 'ok',
        subjectType: 'backup',
        subjectId: `b${index % 5}`,
      });
    const all = (await audit.list()).items;
    const [oldest] = all.toReversed();
    const filters = {
      action: 'backup.start',
      actor: 'token:a',
      subjectType: 'backup',
      subjectId: 'b2',
      since: oldest!.at,
    };
    for (const filter of subsets(filters)) {
      const matches = (one: AuditEventRecord) =>
        Object.entries(filter).every(
          ([name, value]) => name === 'since' || one[name as keyof AuditEventRecord] === value,
        );
      const found = await walk((page) => audit.list({ ...filter, ...page }));
      expect({ filter, found: found.map(({ id }) => id) }).toEqual({
        filter,
        found: all.filter(matches).map(({ id }) => id),
      });
    }
  });
});
