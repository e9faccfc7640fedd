import { describe, expect, it } from '@jest/globals';
import { eventually, requires, temporaryDirectory } from '@sendense/runtime/testing';
import { child } from '../src/soap/xml.js';
import { startLab, type ChangedAreasLie, type Lab } from '../src/index.js';
import { element, refer, SoapClient } from './soap-client.js';

const describeWith = requires(describe, 'openssl', 'qemu-img');
const MiB = 1 << 20;
const GRAIN = 65_536;

/** A VM whose change tracking runs, logged in to. */
async function trackedVm(lab: Lab, sizeBytes = 64 * MiB): Promise<{ client: SoapClient; vm: string }> {
  const vm = await lab.createVm({ name: 'pgtest1', disks: [{ sizeBytes }], changeTrackingEnabled: true });
  return { client: await SoapClient.login(lab), vm: vm.moref };
}

describeWith('sessions', () => {
  it('refuses a wrong password and everything without a login', async () => {
    using folder = temporaryDirectory();
    await using lab = await startLab({ directory: folder.path });
    const client = new SoapClient(lab);
    const login = [element('userName', lab.username), element('password', 'wrong')];
    expect(await client.call('Login', 'SessionManager', 'SessionManager', login)).toMatchObject({
      status: 500,
      fault: 'InvalidLogin',
      faultText: expect.stringContaining('incorrect user name or password'),
      cookie: undefined,
    });
    expect(await client.call('RetrieveServiceContent', 'ServiceInstance', 'ServiceInstance')).toMatchObject({
      status: 200,
    });
    expect(await client.call('Fetch', 'Folder', 'group-d1', [element('prop', 'name')])).toMatchObject({
      status: 500,
      fault: 'NotAuthenticated',
    });
    client.cookie = 'vmware_soap_session="0123456789abcdef"';
    expect((await client.call('Fetch', 'Folder', 'group-d1', [element('prop', 'name')])).fault).toBe(
      'NotAuthenticated',
    );
  });

  it('forgets sessions that were idle too long, or when it is told to', async () => {
    using folder = temporaryDirectory();
    await using lab = await startLab({ directory: folder.path, sessionIdleMs: 100 });
    const client = await SoapClient.login(lab);
    const look = async () =>
      (await client.call('Fetch', 'Folder', 'group-d1', [element('prop', 'name')])).fault;
    expect(await look()).toBeUndefined();
    expect(lab.sessionCount()).toBe(1);
    await eventually('the idle session is forgotten', () => lab.sessionCount() === 0);
    expect(await look()).toBe('NotAuthenticated');
    const again = await SoapClient.login(lab);
    lab.expireSessions();
    expect((await again.call('Fetch', 'Folder', 'group-d1', [element('prop', 'name')])).fault).toBe(
      'NotAuthenticated',
    );
  });

  it('goes away and comes back at the same port', async () => {
    using folder = temporaryDirectory();
    await using lab = await startLab({ directory: folder.path });
    const client = await SoapClient.login(lab);
    const look = async () => client.call('Fetch', 'Folder', 'group-d1', [element('prop', 'name')]);
    await lab.stopVCenter();
    await expect(look()).rejects.toThrow(/ECONNREFUSED|hang up|ECONNRESET/);
    await expect(
      new SoapClient(lab).call('CurrentTime', 'ServiceInstance', 'ServiceInstance'),
    ).rejects.toThrow('ECONNREFUSED');
    await lab.startVCenter();
    expect((await look()).fault).toBeUndefined();
    await lab.stopVCenter();
  });

  it('answers what is no call with a fault, not with a broken connection', async () => {
    using folder = temporaryDirectory();
    await using lab = await startLab({ directory: folder.path });
    const client = await SoapClient.login(lab);
    for (const body of [
      '',
      'hello',
      '<a',
      '<a/>',
      '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
      '<a>&unknown;</a>',
    ]) {
      const { status, body: answer } = await client.post(body);
      expect({ body, status, known: answer.includes('InvalidRequest') }).toEqual({
        body,
        status: 500,
        known: true,
      });
    }
    expect((await client.call('Frobnicate', 'Folder', 'group-d1')).fault).toBe('MethodNotFound');
    expect((await client.call('Fetch', 'VirtualMachine', 'vm-999', [element('prop', 'name')])).fault).toBe(
      'ManagedObjectNotFound',
    );
  });
});

describeWith('waiting for updates', () => {
  it('tells what changed since the version that the client has seen, and waits for it', async () => {
    using folder = temporaryDirectory();
    await using lab = await startLab({ directory: folder.path });
    const { client, vm } = await trackedVm(lab);
    const spec =
      '<spec><propSet><type>VirtualMachine</type><pathSet>runtime.powerState</pathSet><pathSet>snapshot</pathSet></propSet>' +
      `<objectSet>${refer('obj', 'VirtualMachine', vm)}</objectSet></spec>`;
    const collector = ['PropertyCollector', 'propertyCollector'] as const;
    await client.value('CreateFilter', ...collector, [spec, element('partialUpdates', false)]);
    const wait = async (version: string, seconds?: number) => {
      const options =
        seconds === undefined ? '' : `<options><maxWaitSeconds>${seconds}</maxWaitSeconds></options>`;
      const reply = await client.call('WaitForUpdatesEx', ...collector, [
        element('version', version),
        options,
      ]);
      const set = reply.values[0];
      const update = set && child(child(set, 'filterSet')!, 'objectSet')!;
      return {
        version: set && child(set, 'version')!.text,
        kind: update && child(update, 'kind')!.text,
        changes: update?.children
          .filter(({ name }) => name === 'changeSet')
          .map((change) => child(change, 'name')!.text),
        fault: reply.fault,
      };
    };
    expect(await wait('')).toEqual({
      version: '1',
      kind: 'enter',
      changes: ['runtime.powerState'],
      fault: undefined,
    });
    expect(await wait('1', 0)).toMatchObject({ version: undefined, fault: undefined });
    const waiting = wait('1');
    await lab.createSnapshot('pgtest1', { name: 'one' });
    expect(await waiting).toEqual({ version: '2', kind: 'modify', changes: ['snapshot'], fault: undefined });
    expect((await wait('7', 0)).fault).toBe('InvalidCollectorVersion');
    await lab.removeVm('pgtest1');
    expect(await wait('2', 5)).toMatchObject({ version: '3', kind: 'leave' });
  });
});

describeWith('snapshots and tasks', () => {
  it('quiesces only a running VM with Tools, and says in the tree what really happened', async () => {
    using folder = temporaryDirectory();
    await using lab = await startLab({ directory: folder.path, taskDurationMs: 0 });
    const { client, vm } = await trackedVm(lab);
    await client.createSnapshot(vm, 'with tools', true);
    await lab.setTools(vm, 'notRunning');
    await client.createSnapshot(vm, 'without', true);
    await lab.setTools(vm, 'running');
    await lab.setPower(vm, 'poweredOff');
    await client.createSnapshot(vm, 'off', true);
    expect(lab.snapshots(vm).map(({ quiesced }) => quiesced)).toEqual([true, false, false]);
    await lab.setPower(vm, 'poweredOn');
    lab.setFault({ operation: 'quiesce', times: 1 });
    expect(await client.createSnapshot(vm, 'fails', true)).toMatchObject({
      state: 'error',
      error: 'ApplicationQuiesceFault',
    });
    expect(lab.snapshotHistory(vm)).toEqual({ created: 3, removed: 0 });
  });

  it('refuses a second task on a VM while one runs', async () => {
    using folder = temporaryDirectory();
    await using lab = await startLab({ directory: folder.path });
    const { client, vm } = await trackedVm(lab);
    lab.setFault({ operation: 'CreateSnapshot_Task', delayMs: 300, times: 1 });
    const first = client.createSnapshot(vm, 'first');
    await client.call('Fetch', 'VirtualMachine', vm, [element('prop', 'name')]);
    const second = await client.call('CreateSnapshot_Task', 'VirtualMachine', vm, [
      element('name', 'second'),
    ]);
    expect(second.fault).toBe('TaskInProgress');
    expect((await first).state).toBe('success');
    expect((await client.createSnapshot(vm, 'third')).state).toBe('success');
  });

  it('leaves deltas behind when told to, says so, and merges them when asked', async () => {
    using folder = temporaryDirectory();
    await using lab = await startLab({ directory: folder.path, taskDurationMs: 0 });
    const { client, vm } = await trackedVm(lab);
    const { result: snapshot } = await client.createSnapshot(vm, 'one');
    await lab.guestWrite(vm, 2000, { offset: 5, random: 'x', length: 3 * MiB });
    lab.setFault({ operation: 'consolidate', times: 1 });
    expect((await client.removeSnapshot(snapshot!)).state).toBe('success');
    expect(lab.vm(vm)).toMatchObject({ consolidationNeeded: true });
    expect(lab.vm(vm).disks[0]!.fileName).toBe('[labds] pgtest1/pgtest1-000001.vmdk');
    await client.task('ConsolidateVMDisks_Task', 'VirtualMachine', vm);
    expect(lab.vm(vm)).toMatchObject({ consolidationNeeded: false });
    expect(lab.vm(vm).disks[0]!.fileName).toBe('[labds] pgtest1/pgtest1.vmdk');
  });

  it('fails where it is told: the call, the task, the connection before or after', async () => {
    using folder = temporaryDirectory();
    await using lab = await startLab({ directory: folder.path, taskDurationMs: 0 });
    const { client, vm } = await trackedVm(lab);
    const create = { operation: 'CreateSnapshot_Task', times: 1 };
    lab.setFault({ ...create, fault: 'GenericVmConfigFault' });
    expect(await client.createSnapshot(vm, 'a')).toMatchObject({
      state: 'error',
      error: 'GenericVmConfigFault',
    });
    lab.setFault({ ...create, fault: 'NoDiskSpace', stage: 'call', message: 'no room', after: 1 });
    expect((await client.createSnapshot(vm, 'b')).state).toBe('success');
    await expect(client.createSnapshot(vm, 'c')).rejects.toThrow('NoDiskSpace: no room');
    lab.setFault({ ...create, drop: 'before' });
    await expect(client.createSnapshot(vm, 'd')).rejects.toThrow(/hang up|ECONNRESET/);
    lab.setFault({ ...create, httpStatus: 503 });
    await expect(client.createSnapshot(vm, 'e')).rejects.toThrow();
    expect(lab.snapshots(vm).map(({ name }) => name)).toEqual(['b']);
    lab.setFault({ ...create, drop: 'after' });
    await expect(client.createSnapshot(vm, 'f')).rejects.toThrow(/hang up|ECONNRESET/);
    // Only the answer was lost.
    await eventually('the snapshot is there', () => lab.snapshots(vm).at(-1)?.name === 'f');
    lab.setFault({ operation: '*', fault: 'NotAuthenticated', times: 1 });
    expect((await client.call('Fetch', 'VirtualMachine', vm, [element('prop', 'name')])).fault).toBe(
      'NotAuthenticated',
    );
    expect(lab.faults().every(({ struck }) => struck === 1)).toBe(true);
  });
});

describeWith('changed block tracking', () => {
  it('pages at 2000 areas, each page where the last one ended, up to the capacity', async () => {
    using folder = temporaryDirectory();
    await using lab = await startLab({ directory: folder.path, taskDurationMs: 0 });
    const { client, vm } = await trackedVm(lab, 600 * MiB + 512);
    const { result: before } = await client.createSnapshot(vm, 'before');
    const changeId = lab.snapshots(vm)[0]!.disks[0]!.changeId!;
    const offsets = Array.from({ length: 4500 }, (_, index) => index * 2 * GRAIN + 100);
    await lab.guestWrite(
      vm,
      2000,
      offsets.map((offset) => ({ offset, data: Buffer.from('x') })),
    );
    await lab.guestWrite(vm, 2000, { offset: 600 * MiB, data: Buffer.alloc(512, 1) });
    await client.removeSnapshot(before!);
    const { result: after } = await client.createSnapshot(vm, 'after');
    const pages = [];
    for (let at = 0; at < 600 * MiB + 512;) {
      const page = await client.changedAreas(vm, after!, 2000, at, changeId);
      expect(page.startOffset).toBe(at);
      pages.push(page.areas);
      at += page.length;
    }
    expect(pages.map((areas) => areas.length)).toEqual([2000, 2000, 501]);
    expect(pages.flat()).toEqual([
      ...offsets.map((offset) => ({ offset: offset - 100, length: GRAIN })),
      { offset: 600 * MiB, length: 512 },
    ]);
  });

  it('makes changeIds foreign by a reset, and answers * only where tracking saw everything', async () => {
    using folder = temporaryDirectory();
    await using lab = await startLab({ directory: folder.path, taskDurationMs: 0 });
    const { client, vm } = await trackedVm(lab);
    const taken = async (name: string) => {
      const { result } = await client.createSnapshot(vm, name);
      return { moref: result!, changeId: lab.snapshots(vm).at(-1)!.disks[0]!.changeId! };
    };
    const first = await taken('first');
    expect((await client.changedAreas(vm, first.moref, 2000, 0, '*')).fault).toBeUndefined();
    await lab.resetChangeTracking(vm);
    const second = await taken('second');
    expect(second.changeId.split('/')[0]).not.toBe(first.changeId.split('/')[0]);
    expect((await client.changedAreas(vm, second.moref, 2000, 0, first.changeId)).fault).toBe('FileFault');
    await lab.setChangeTracking(vm, false);
    const untracked = await client.createSnapshot(vm, 'untracked');
    expect((await client.changedAreas(vm, untracked.result!, 2000, 0, '*')).fault).toBe('FileFault');
    // Enabled while snapshots exist: changes are known from now on, but not what was allocated before.
    await lab.setChangeTracking(vm, true);
    const late = await taken('late');
    expect((await client.changedAreas(vm, late.moref, 2000, 0, '*')).fault).toBe('FileFault');
    expect((await client.changedAreas(vm, late.moref, 2000, 0, late.changeId)).fault).toBeUndefined();
    const future = late.changeId.replace(/\d+$/, '99');
    expect((await client.changedAreas(vm, late.moref, 2000, 0, future)).fault).toBe('InvalidArgument');
  });

  it.each(['the API', 'the lab'])(
    'goes back in its numbers by a revert through %s, and gives them again',
    async (way) => {
      using folder = temporaryDirectory();
      await using lab = await startLab({ directory: folder.path, taskDurationMs: 0 });
      const { client, vm } = await trackedVm(lab);
      const taken = async (name: string) => {
        const { result } = await client.createSnapshot(vm, name);
        return { moref: result!, changeId: lab.snapshots(vm).at(-1)!.disks[0]!.changeId! };
      };
      const write = (grain: number) =>
        lab.guestWrite(vm, 2000, { offset: grain * GRAIN, random: 'x', length: 9 });
      const sequence = ({ changeId }: { changeId: string }) => Number(changeId.split('/')[1]);
      const base = await taken('base');
      await write(1);
      const left = [await taken('left 1'), await taken('left 2')];
      if (way === 'the API')
        expect((await client.task('RevertToSnapshot_Task', 'VirtualMachineSnapshot', base.moref)).state).toBe(
          'success',
        );
      else await lab.revertToSnapshot(vm, base.moref);
      await write(7);
      const back = [await taken('back 1'), await taken('back 2'), await taken('back 3')];
      expect([...left, ...back].map((point) => sequence(point) - sequence(base))).toEqual([1, 2, 1, 2, 3]);
      const ask = (to: { moref: string }, from: { changeId: string }) =>
        client.changedAreas(vm, to.moref, 2000, 0, from.changeId);
      expect((await ask(back[0]!, left[1]!)).fault).toBe('InvalidArgument');
      expect((await ask(back[0]!, base)).areas).toContainEqual({ offset: 7 * GRAIN, length: GRAIN });
      // What VMware does, too: once the numbers have caught up, changes are missing and nothing says so.
      expect(await ask(back[2]!, left[1]!)).toMatchObject({ fault: undefined, areas: [] });
    },
  );

  it('forgets what changed so far when told to, of one disk or all', async () => {
    using folder = temporaryDirectory();
    await using lab = await startLab({ directory: folder.path, taskDurationMs: 0 });
    const { client, vm } = await trackedVm(lab);
    await lab.addDisk(vm, { sizeBytes: MiB });
    await client.createSnapshot(vm, 'starts tracking of the new disk');
    const { result: first } = await client.createSnapshot(vm, 'first');
    const ids = lab
      .snapshots(vm)
      .at(-1)!
      .disks.map(({ changeId }) => changeId!);
    await lab.forgetChanges(vm, 2001);
    const { result: second } = await client.createSnapshot(vm, 'second');
    const faults = async (moref: string) =>
      Promise.all(
        ids.map(async (id, index) => (await client.changedAreas(vm, moref, 2000 + index, 0, id)).fault),
      );
    expect(await faults(first!)).toEqual([undefined, undefined]);
    expect(await faults(second!)).toEqual([undefined, 'FileFault']);
    const now = lab.snapshots(vm).at(-1)!.disks[1]!.changeId!;
    expect(now.split('/')[0]).toBe(ids[1]!.split('/')[0]);
    expect((await client.changedAreas(vm, second!, 2001, 0, now)).fault).toBeUndefined();
    expect((await client.changedAreas(vm, second!, 2001, 0, '*')).fault).toBeUndefined();
    await lab.forgetChanges(vm);
    const { result: third } = await client.createSnapshot(vm, 'third');
    expect(await faults(third!)).toEqual(['FileFault', 'FileFault']);
  });

  it('covers stretches without changes by pages that are empty, and is right all the same', async () => {
    using folder = temporaryDirectory();
    await using lab = await startLab({ directory: folder.path, taskDurationMs: 0 });
    const { client, vm } = await trackedVm(lab);
    const grains = [2, 3, 9, 1023];
    await lab.guestWrite(
      vm,
      2000,
      grains.map((grain) => ({ offset: grain * GRAIN, data: Buffer.from('x') })),
    );
    const { result } = await client.createSnapshot(vm, 'one');
    lab.setFault({ operation: 'QueryChangedDiskAreas', lie: 'empty_pages' });
    const pages: [length: number, areas: number[]][] = [];
    for (let at = 0; at < 64 * MiB;) {
      const { startOffset, length, areas } = await client.changedAreas(vm, result!, 2000, at, '*');
      expect(startOffset).toBe(at);
      pages.push([length / GRAIN, areas.map((area) => area.offset / GRAIN)]);
      at += length;
    }
    expect(pages).toEqual([
      [2, []],
      [2, [2]],
      [5, []],
      [1, [9]],
      [1013, []],
      [1, [1023]],
    ]);
  });

  it('lies when told to', async () => {
    using folder = temporaryDirectory();
    await using lab = await startLab({ directory: folder.path, taskDurationMs: 0 });
    const { client, vm } = await trackedVm(lab);
    await lab.guestWrite(
      vm,
      2000,
      [0, 4, 8, 12].map((grain) => ({ offset: grain * GRAIN, data: Buffer.from('x') })),
    );
    const { result } = await client.createSnapshot(vm, 'one');
    const ask = async (lie?: ChangedAreasLie) => {
      if (lie) lab.setFault({ operation: 'QueryChangedDiskAreas', lie, times: 1, diskKey: 2000 });
      const { startOffset, length, areas } = await client.changedAreas(vm, result!, 2000, 0, '*');
      return { startOffset, length, grains: areas.map(({ offset }) => offset / GRAIN) };
    };
    const truth = { startOffset: 0, length: 64 * MiB, grains: [0, 4, 8, 12] };
    expect(await ask()).toEqual(truth);
    expect(await ask('omit_areas')).toEqual({ ...truth, grains: [4, 12] });
    expect(await ask('no_areas')).toEqual({ ...truth, grains: [] });
    expect(await ask('wrong_start_offset')).toEqual({ ...truth, startOffset: GRAIN });
    expect(await ask('short_length')).toEqual({ ...truth, length: 13 * GRAIN });
    expect(await ask('zero_length')).toEqual({ startOffset: 0, length: 0, grains: [] });
    expect(await ask('beyond_end')).toEqual({ ...truth, grains: [0, 4, 8, 12, 1025] });
    expect(await ask('unordered')).toEqual({ ...truth, grains: [12, 12, 8, 8, 4, 4, 0, 0] });
    expect(await ask()).toEqual(truth);
  });
});
