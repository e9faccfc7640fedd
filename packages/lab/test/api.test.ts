import { describe, expect, it } from '@jest/globals';
import { eventually, requires, temporaryDirectory } from '@sendense/runtime/testing';
import { child } from '../src/soap/xml.js';
import { startLab } from '../src/index.js';
import { element, refer, SoapClient, trackedVm } from './soap-client.js';

const describeWith = requires(describe, 'openssl', 'qemu-img');
const MiB = 1 << 20;

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
