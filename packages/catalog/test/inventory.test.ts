import { expect, it } from '@jest/globals';
import { SendenseError } from '@sendense/core';
import fc from 'fast-check';
import { toStoredError } from '../src/index.js';
import { describeOnEach } from './databases.js';
import { discovered, disk, GIB, ODD_NAMES, Stage } from './stage.js';

describeOnEach('names', () => {
  it('are stored and shown as they are, whatever they hold', async () => {
    await using stage = await Stage.open();
    const { catalog } = stage;
    for (const name of ODD_NAMES) {
      const repository = await catalog.repositories.create({
        name,
        type: 'local',
        path: `/backup/${name.length}`,
      });
      expect(await catalog.repositories.get(repository.id)).toEqual(repository);
      expect(repository.name).toBe(name);
      const vcenterId = await stage.addVcenter(name);
      expect((await catalog.vcenters.get(vcenterId)).name).toBe(name);
      const vm = await catalog.vms.protect(vcenterId, {
        ...discovered(name),
        instanceUuid: `5020-${repository.id}`,
        hostName: name,
        guestFullName: name,
      });
      expect(await catalog.vms.getByName(name)).toMatchObject({ name, hostName: name, guestFullName: name });
      expect(vm.contextId).toMatch(/^ctx-[A-Za-z0-9._-]+-\d{8}-\d{6}(-\d+)?$/);
      const backup = await stage.begin(vm, repository.id);
      expect(backup.vmName).toBe(name);
      expect(backup.id).toMatch(/^backup-[A-Za-z0-9._-]+$/);
    }
    await stage.reopen();
    expect((await stage.catalog.repositories.list()).map((repository) => repository.name)).toEqual(ODD_NAMES);
  });

  it('of any characters come back as they went in, or are refused', async () => {
    await using stage = await Stage.open();
    const { repositories } = stage.catalog;
    let count = 0;
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: 'binary', minLength: 1, maxLength: 20 }), async (text) => {
        const name = `${text}${count++}`;
        try {
          const { id } = await repositories.create({ name, type: 'local', path: `/${count}` });
          expect((await repositories.get(id)).name).toBe(name);
        } catch (error) {
          expect(error).toMatchObject({ code: 'invalid_argument' });
          expect(name.isWellFormed() && !name.includes('\0')).toBe(false);
        }
      }),
      { numRuns: 40 },
    );
  });

  it('are refused when they are empty, too long or not text', async () => {
    await using stage = await Stage.open();
    for (const name of ['', '  \n', 'x'.repeat(513), '🙂'.repeat(513), 'half \ud83d', 'nul \0'])
      await expect(
        stage.catalog.repositories.create({ name, type: 'local', path: '/x' }),
      ).rejects.toMatchObject({
        code: 'invalid_argument',
      });
  });

  it('of VMs that cannot be stored as they are keep all that can', async () => {
    await using stage = await Stage.open();
    const vcenterId = await stage.addVcenter();
    const vm = await stage.catalog.vms.protect(vcenterId, {
      ...discovered('x'),
      name: `half \ud83d ${'y'.repeat(600)}`,
    });
    expect(vm.name).toBe(`half \ufffd ${'y'.repeat(505)}`);
  });
});

describeOnEach('repositories', () => {
  it('have a name, a path and an id of their own', async () => {
    await using stage = await Stage.open();
    const { repositories } = stage.catalog;
    const made = await Promise.all(
      ['a', 'b', 'c'].map((name) => repositories.create({ name, type: 'local', path: `/backup/${name}` })),
    );
    expect(new Set(made.map((repository) => repository.id)).size).toBe(3);
    for (const { id } of made) expect(id).toMatch(/^repo-local-\d+(-\d+)?$/);
    const taken = { code: 'already_exists' };
    await expect(repositories.create({ name: 'a', type: 'local', path: '/other' })).rejects.toMatchObject(
      taken,
    );
    await expect(repositories.create({ name: 'd', type: 'local', path: '/backup/a' })).rejects.toMatchObject(
      taken,
    );
    await expect(repositories.create({ name: 'd', type: 'local', path: 'relative' })).rejects.toMatchObject({
      code: 'invalid_argument',
    });
    expect(await repositories.find('none')).toBeUndefined();
    await expect(repositories.get('none')).rejects.toMatchObject({ code: 'repository_not_found' });
  });

  it('stay while restore points or running backups need them', async () => {
    await using stage = await Stage.open();
    const { vm, repositoryId } = await stage.addVm();
    const { repositories, vms, vcenters } = stage.catalog;
    const backup = await stage.begin(vm, repositoryId);
    await expect(repositories.remove(repositoryId)).rejects.toMatchObject({ code: 'repository_in_use' });
    await expect(vms.remove(vm.contextId)).rejects.toMatchObject({ code: 'conflict' });
    await expect(vcenters.remove(vm.vcenterId!)).rejects.toMatchObject({ code: 'conflict' });
    await stage.runToSealing(backup);
    await stage.seal(backup);
    await expect(repositories.remove(repositoryId)).rejects.toMatchObject({
      code: 'repository_in_use',
      context: { restore_points: '1', running_backups: '0' },
    });
    await expect(vms.remove(vm.contextId)).rejects.toMatchObject({ code: 'conflict' });
    const empty = await stage.addRepository('empty');
    await repositories.remove(empty);
    await expect(repositories.remove(empty)).rejects.toMatchObject({ code: 'repository_not_found' });
  });
});

describeOnEach('protected VMs', () => {
  it('are protected once', async () => {
    await using stage = await Stage.open();
    const vcenterId = await stage.addVcenter();
    const { vms } = stage.catalog;
    const results = await Promise.allSettled([1, 2, 3].map(() => vms.protect(vcenterId, discovered('pg'))));
    expect(results.filter((result) => result.status === 'fulfilled')).toHaveLength(1);
    const { contextId } = (await vms.list()).items[0]!;
    for (const result of results)
      if (result.status === 'rejected')
        expect(result.reason).toMatchObject({ code: 'already_exists', context: { context_id: contextId } });
    await expect(vms.protect('vcenter-none', discovered('other'))).rejects.toMatchObject({
      code: 'not_found',
    });
    await expect(vms.protect(vcenterId, { ...discovered('x'), instanceUuid: '' })).rejects.toMatchObject({
      code: 'invalid_argument',
    });
  });

  it('keep the numbers of their disks for ever', async () => {
    await using stage = await Stage.open();
    const vcenterId = await stage.addVcenter();
    const { vms } = stage.catalog;
    const vm = await vms.protect(vcenterId, {
      ...discovered('pg'),
      disks: [disk(2000), disk(2001), disk(2016)],
    });
    expect(vm.disks.map((shown) => [shown.diskNumber, shown.diskKey])).toEqual([
      [0, 2000],
      [1, 2001],
      [2, 2016],
    ]);
    expect(vm.disks[0]).toEqual({
      diskId: `${vm.contextId}-disk0`,
      diskNumber: 0,
      diskKey: 2000,
      label: 'Hard disk 1',
      backingUuid: '6000C29-2000',
      backingFile: '[ds1] vm/vm_2000.vmdk',
      datastore: 'ds1',
      capacityBytes: 102 * GIB,
      controllerKey: 1000,
      unitNumber: 0,
      unsupportedReason: undefined,
    });
    const refresh = async (...disks: ReturnType<typeof disk>[]) =>
      (await vms.refresh(vm.contextId, { ...discovered('pg'), disks })).disks.map((shown) => [
        shown.diskNumber,
        shown.diskKey,
        shown.capacityBytes / GIB,
      ]);
    // Listed in another order, grown; one gone, one replaced under its key; the first one back.
    expect(await refresh(disk(2016), disk(2000, { capacityBytes: 200 * GIB }))).toEqual([
      [0, 2000, 200],
      [2, 2016, 102],
    ]);
    expect(await refresh(disk(2000, { backingUuid: 'new' }), disk(2016))).toEqual([
      [2, 2016, 102],
      [3, 2000, 102],
    ]);
    expect(await refresh(disk(2001), disk(2000))).toEqual([
      [0, 2000, 102],
      [1, 2001, 102],
    ]);
    expect(await refresh(disk(2002, { unsupportedReason: 'independent' }))).toEqual([[4, 2002, 102]]);
    await expect(vms.refresh('ctx-none', discovered('x'))).rejects.toMatchObject({
      code: 'vm_not_protected',
    });
  });

  it('follow renames, and are told apart when they share a name', async () => {
    await using stage = await Stage.open();
    const { vms } = stage.catalog;
    const first = await vms.protect(await stage.addVcenter('vc1'), discovered('pg'));
    const second = await vms.protect(await stage.addVcenter('vc2'), discovered('pg'));
    expect(second.contextId).not.toBe(first.contextId);
    await expect(vms.getByName('pg')).rejects.toMatchObject({
      code: 'conflict',
      message: expect.stringMatching(new RegExp(`${first.contextId}.*${second.contextId}`)),
    });
    await vms.refresh(second.contextId, { ...discovered('pg'), name: 'renamed', moref: 'vm-99' });
    expect((await vms.getByName('renamed')).moref).toBe('vm-99');
    expect((await vms.getByName('pg')).contextId).toBe(first.contextId);
    await expect(vms.getByName('none')).rejects.toMatchObject({ code: 'vm_not_protected' });
  });

  it('are taken up again when their vCenter comes back', async () => {
    await using stage = await Stage.open();
    const { vms, vcenters } = stage.catalog;
    const { vm } = await stage.addVm();
    await vcenters.remove(vm.vcenterId!);
    const again = await vms.protect(await stage.addVcenter('again'), discovered('pgtest1'));
    expect(again).toMatchObject({ contextId: vm.contextId, vcenterId: 'vcenter-again', disks: vm.disks });
  });

  it('can be removed; their history of backups stays', async () => {
    await using stage = await Stage.open();
    const { vms, backups } = stage.catalog;
    const { vm, repositoryId } = await stage.addVm();
    const backup = await stage.begin(vm, repositoryId);
    await backups.changeState(backup.id, {
      state: 'failed',
      error: toStoredError(new SendenseError('node_lost', 'x')),
    });
    await vms.remove(vm.contextId);
    expect(await vms.find(vm.contextId)).toBeUndefined();
    expect(await backups.get(backup.id)).toMatchObject({ state: 'failed', vmName: 'pgtest1' });
  });

  it('are listed in pages', async () => {
    await using stage = await Stage.open();
    const vcenterId = await stage.addVcenter();
    for (let index = 0; index < 7; index++)
      await stage.catalog.vms.protect(vcenterId, discovered(`vm ${index}`));
    const first = await stage.catalog.vms.list({ limit: 4 });
    const second = await stage.catalog.vms.list({ limit: 4, cursor: first.nextCursor! });
    expect([...first.items, ...second.items].map((vm) => vm.name).sort()).toEqual(
      Array.from({ length: 7 }, (_, index) => `vm ${index}`),
    );
    expect(second.nextCursor).toBeUndefined();
    expect((await stage.catalog.vms.list({ name: 'vm 3' })).items).toHaveLength(1);
    expect((await stage.catalog.vms.list({ vcenterId: 'none' })).items).toEqual([]);
  });
});

describeOnEach('vCenters', () => {
  it('need a node and a name of their own', async () => {
    await using stage = await Stage.open();
    const { vcenters, nodes } = stage.catalog;
    const id = await stage.addVcenter('vc');
    await expect(stage.addVcenter('vc')).rejects.toMatchObject({ code: 'already_exists' });
    const fields = { endpoint: 'h', username: 'u', password: 'p', thumbprint: 't' };
    await expect(vcenters.create({ name: 'x', nodeName: 'none', ...fields })).rejects.toMatchObject({
      code: 'node_not_found',
    });
    await expect(vcenters.update(id, { nodeName: 'none' })).rejects.toMatchObject({ code: 'node_not_found' });
    await expect(vcenters.update('none', {})).rejects.toMatchObject({ code: 'not_found' });
    expect(await vcenters.update(id, { endpoint: 'new:8443', username: 'other' })).toMatchObject({
      endpoint: 'new:8443',
      username: 'other',
      thumbprint: 'AB:CD',
    });
    expect(await vcenters.connection(id)).toMatchObject({ endpoint: 'new:8443', password: 'secret' });
    await expect(nodes.remove('node-1')).rejects.toMatchObject({
      code: 'conflict',
      message: expect.stringContaining('vc'),
    });
    await vcenters.remove(id);
    await nodes.remove('node-1');
    await expect(vcenters.get(id)).rejects.toMatchObject({ code: 'not_found' });
  });
});
