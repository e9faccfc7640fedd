import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { eventually, requires } from '@sendense/runtime/testing';
import type { VSphereSession } from '../src/types.js';
import { connectTo, failureOf, recordingLogger } from './connect.js';
import { pyvmomiReplies } from './fixtures.js';
import { drop, fault, hang, moref, ScriptedVCenter, val, values, type Answer } from './scripted-vcenter.js';

const describeScripted = requires(describe, 'openssl');

let vcenter: ScriptedVCenter;
let session: VSphereSession;
beforeEach(async () => {
  vcenter = await ScriptedVCenter.start();
  session = await connectTo(vcenter);
  setVm({});
});
afterEach(async () => {
  await session[Symbol.asyncDispose]();
  await vcenter[Symbol.asyncDispose]();
});

const CREATED = '<result type="VirtualMachineSnapshot" xsi:type="ManagedObjectReference">snapshot-3</result>';
const REQUEST = { name: 'sendense-job-1', description: 'by node-1', quiesce: false };
const QUIESCED = { ...REQUEST, quiesce: true };

function setVm(properties: Record<string, string>): void {
  vcenter.objects.set('vm-57', {
    type: 'VirtualMachine',
    properties: {
      'runtime.powerState': val('VirtualMachinePowerState', 'poweredOn'),
      'guest.toolsRunningStatus': val('xsd:string', 'guestToolsRunning'),
      'capability.changeTrackingSupported': val('xsd:boolean', 'true'),
      'config.changeTrackingEnabled': val('xsd:boolean', 'false'),
      'config.version': val('xsd:string', 'vmx-19'),
      ...properties,
    },
  });
}

function task(name: string, info: string): Answer {
  return values(vcenter.addTask(name, info));
}

function done(name: string, more = ''): Answer {
  return task(name, `<state>success</state>${more}`);
}

function failed(name: string, type: string, message: string, fields = ''): Answer {
  const error = `<fault xsi:type="${type}">${fields}</fault><localizedMessage>${message}</localizedMessage>`;
  return task(name, `<state>error</state><error>${error}</error>`);
}

function count(method: string): number {
  return vcenter.methods().filter((called) => called === method).length;
}

/** The parameters of the calls of a method, without the object. */
function parameters(method: string): string[][] {
  return vcenter.requests
    .filter((request) => request.method === method)
    .map(({ element }) => element.children.slice(1).map((child) => `${child.name}=${child.text}`));
}

describeScripted('creating a snapshot', () => {
  test('one task, without memory', async () => {
    vcenter.on('CreateSnapshot_Task', done('task-1', CREATED));
    expect(await session.createSnapshot('vm-57', REQUEST)).toEqual({ moref: 'snapshot-3', quiesced: false });
    expect(parameters('CreateSnapshot_Task')).toEqual([
      ['name=sendense-job-1', 'description=by node-1', 'memory=false', 'quiesce=false'],
    ]);
  });

  test('quiesced, when vSphere recorded it as such', async () => {
    setVm({ snapshot: pyvmomiReplies['snapshots']! });
    vcenter.on('CreateSnapshot_Task', done('task-1', CREATED));
    expect(await session.createSnapshot('vm-57', QUIESCED)).toEqual({ moref: 'snapshot-3', quiesced: true });
  });

  test('quiesced was asked for and is not recorded', async () => {
    vcenter.on('CreateSnapshot_Task', done('task-1', CREATED));
    const created = await session.createSnapshot('vm-57', QUIESCED);
    expect(created).toMatchObject({ moref: 'snapshot-3', quiesced: false });
    expect(created.quiesceNote).toMatch(/did not quiesce/);
  });

  test.each([
    ['runtime.powerState', 'poweredOff', /not running \(poweredOff\)/],
    ['runtime.powerState', 'suspended', /not running \(suspended\)/],
    ['guest.toolsRunningStatus', 'guestToolsNotRunning', /Tools are not running.*guestToolsNotRunning/],
  ])('quiescing is not asked for when %s is %s', async (path, state, note) => {
    setVm({ [path]: val('xsd:string', state) });
    vcenter.on('CreateSnapshot_Task', done('task-1', CREATED));
    const created = await session.createSnapshot('vm-57', QUIESCED);
    expect(created).toMatchObject({ moref: 'snapshot-3', quiesced: false });
    expect(created.quiesceNote).toMatch(note);
    expect(parameters('CreateSnapshot_Task')[0]).toContain('quiesce=false');
  });

  test('a guest that cannot be quiesced, as pyvmomi writes it: taken without, and the note says why', async () => {
    vcenter.objects.set('task-1', { type: 'Task', properties: { info: pyvmomiReplies['failed_task']! } });
    vcenter.on('CreateSnapshot_Task', values(moref('returnval', 'Task', 'task-1')), done('task-2', CREATED));
    const created = await session.createSnapshot('vm-57', QUIESCED);
    expect(created).toMatchObject({ moref: 'snapshot-3', quiesced: false });
    expect(created.quiesceNote).toMatch(/ApplicationQuiesceFault: An error occurred while quiescing/);
    expect(parameters('CreateSnapshot_Task').map((call) => call.at(-1))).toEqual([
      'quiesce=true',
      'quiesce=false',
    ]);
  });

  test('a general fault that speaks of quiescing is one, too', async () => {
    const message = 'An error occurred while taking a snapshot: Failed to quiesce the virtual machine.';
    vcenter.on(
      'CreateSnapshot_Task',
      failed('task-1', 'GenericVmConfigFault', message),
      done('task-2', CREATED),
    );
    expect(await session.createSnapshot('vm-57', QUIESCED)).toMatchObject({ quiesced: false });
    expect(count('CreateSnapshot_Task')).toBe(2);
  });

  test('any other failure is one, with the fault of VMware', async () => {
    vcenter.on('CreateSnapshot_Task', failed('task-1', 'InsufficientStorageSpace', 'no space left'));
    const error = await failureOf(session.createSnapshot('vm-57', QUIESCED));
    expect(error.code).toBe('snapshot_create_failed');
    expect(error.context).toMatchObject({
      fault: 'InsufficientStorageSpace',
      fault_message: 'no space left',
      task: 'task-1',
    });
    expect(count('CreateSnapshot_Task')).toBe(1);
  });

  test('a call that is refused at once', async () => {
    vcenter.on('CreateSnapshot_Task', fault('TooManySnapshotLevels'));
    expect(await failureOf(session.createSnapshot('vm-57', REQUEST))).toMatchObject({
      code: 'snapshot_create_failed',
      retryable: false,
    });
    vcenter.on('CreateSnapshot_Task', fault('TaskInProgress'));
    expect(await failureOf(session.createSnapshot('vm-57', REQUEST))).toMatchObject({ retryable: true });
  });

  test('of a VM that is gone', async () => {
    vcenter.on(
      'CreateSnapshot_Task',
      fault('ManagedObjectNotFound', 'gone', moref('obj', 'VirtualMachine', 'vm-8')),
    );
    expect((await failureOf(session.createSnapshot('vm-8', REQUEST))).code).toBe('vm_not_found');
    expect((await failureOf(session.createSnapshot('vm-8', QUIESCED))).code).toBe('vm_not_found');
    expect((await failureOf(session.snapshots('vm-8'))).code).toBe('vm_not_found');
  });

  test('cancelled while it is taken: it is stopped', async () => {
    const stop = new AbortController();
    vcenter.on('CreateSnapshot_Task', task('task-1', '<state>running</state>'));
    vcenter.on('WaitForUpdatesEx', (request) => {
      stop.abort();
      return vcenter.builtIn(request.method, request);
    });
    vcenter.on('CancelTask', () => {
      failed('task-1', 'RequestCanceled', 'canceled');
      return values();
    });
    expect((await failureOf(session.createSnapshot('vm-57', REQUEST, stop.signal))).code).toBe('cancelled');
    expect(count('CancelTask')).toBe(1);
    expect(count('RemoveSnapshot_Task')).toBe(0);
  });

  test('cancelled while it is taken, and it is taken all the same: it is removed', async () => {
    const stop = new AbortController();
    vcenter.on('CreateSnapshot_Task', task('task-1', '<state>running</state>'));
    vcenter.on('WaitForUpdatesEx', (request) => {
      stop.abort();
      return vcenter.builtIn(request.method, request);
    });
    vcenter.on('CancelTask', () => {
      done('task-1', CREATED);
      return fault('NotSupported');
    });
    vcenter.on('RemoveSnapshot_Task', done('task-2'));
    expect((await failureOf(session.createSnapshot('vm-57', REQUEST, stop.signal))).code).toBe('cancelled');
    const removal = vcenter.requests.find((request) => request.method === 'RemoveSnapshot_Task');
    expect(removal?.target).toBe('snapshot-3');
  });

  test('cancelled before: nothing is asked for', async () => {
    expect((await failureOf(session.createSnapshot('vm-57', REQUEST, AbortSignal.abort()))).code).toBe(
      'cancelled',
    );
    expect(count('CreateSnapshot_Task')).toBe(0);
  });

  test('that takes too long is given up, and taken back', async () => {
    await using hasty = await connectTo(vcenter, { taskTimeoutMs: 300 });
    vcenter.on('CreateSnapshot_Task', task('task-1', '<state>running</state>'));
    vcenter.on('CancelTask', () => {
      failed('task-1', 'RequestCanceled', 'canceled');
      return values();
    });
    const error = await failureOf(hasty.createSnapshot('vm-57', REQUEST));
    expect(error.code).toBe('vcenter_task_timeout');
    expect(error.context['task']).toBe('task-1');
    expect(count('CancelTask')).toBe(1);
  });

  test('a snapshot that cannot be taken back is in the log', async () => {
    const { log, lines } = recordingLogger();
    await using hasty = await connectTo(vcenter, { taskTimeoutMs: 200, log });
    vcenter.on('CreateSnapshot_Task', task('task-1', '<state>running</state>'));
    expect((await failureOf(hasty.createSnapshot('vm-57', REQUEST))).code).toBe('vcenter_task_timeout');
    expect(lines.join('')).toMatch(/could not take back the snapshot sendense-job-1 of vm-57/);
  });
});

describeScripted('the disks of a snapshot', () => {
  test('come from its own configuration', async () => {
    vcenter.objects.set('snapshot-3', {
      type: 'VirtualMachineSnapshot',
      properties: { 'config.hardware.device': pyvmomiReplies['devices']! },
    });
    const disks = await session.snapshotDisks('snapshot-3');
    expect(disks).toHaveLength(8);
    expect(disks[0]).toMatchObject({ key: 2000, fileName: '[fast] pgtest1/pgtest1-000001.vmdk' });
  });

  test('of one that is gone', async () => {
    expect((await failureOf(session.snapshotDisks('snapshot-9'))).code).toBe('not_found');
  });
});

describeScripted('removing a snapshot', () => {
  test('waits until it is done', async () => {
    vcenter.on('RemoveSnapshot_Task', task('task-1', '<state>queued</state>'));
    const states = ['running', 'running', 'success'];
    vcenter.on('WaitForUpdatesEx', (request) => {
      vcenter.addTask('task-1', `<state>${states.shift() ?? 'success'}</state>`);
      return vcenter.builtIn(request.method, request);
    });
    await session.removeSnapshot('snapshot-3');
    expect(states).toEqual([]);
    expect(parameters('RemoveSnapshot_Task')).toEqual([['removeChildren=false', 'consolidate=true']]);
    expect(count('DestroyPropertyCollector')).toBe(1);
  });

  test('one that is gone already is removed', async () => {
    const gone = moref('obj', 'VirtualMachineSnapshot', 'snapshot-3');
    vcenter.on('RemoveSnapshot_Task', fault('ManagedObjectNotFound', 'gone', gone));
    await session.removeSnapshot('snapshot-3');
    vcenter.on('RemoveSnapshot_Task', failed('task-1', 'ManagedObjectNotFound', 'gone', gone));
    await session.removeSnapshot('snapshot-3');
  });

  test('a VM or task that is gone does not mean that the snapshot is', async () => {
    vcenter.on('RemoveSnapshot_Task', values(moref('returnval', 'Task', 'task-99')));
    expect((await failureOf(session.removeSnapshot('snapshot-3'))).code).toBe('snapshot_remove_failed');
  });

  test('a failure keeps the fault', async () => {
    vcenter.on(
      'RemoveSnapshot_Task',
      failed('task-1', 'FileLocked', 'Unable to access file since it is locked'),
    );
    const error = await failureOf(session.removeSnapshot('snapshot-3'));
    expect(error.code).toBe('snapshot_remove_failed');
    expect(error.context).toMatchObject({ fault: 'FileLocked', task: 'task-1' });
  });

  test('cancelling ends the waiting, never the removal', async () => {
    const stop = new AbortController();
    vcenter.on('RemoveSnapshot_Task', task('task-1', '<state>running</state>'));
    vcenter.on('WaitForUpdatesEx', {
      act: () => {
        stop.abort();
      },
    });
    expect((await failureOf(session.removeSnapshot('snapshot-3', stop.signal))).code).toBe('cancelled');
    expect(count('CancelTask')).toBe(0);
  });

  test('a connection that breaks while waiting is forgiven', async () => {
    vcenter.on('RemoveSnapshot_Task', task('task-1', '<state>running</state>'));
    vcenter.on('WaitForUpdatesEx', drop, drop, (request) => {
      done('task-1');
      return vcenter.builtIn(request.method, request);
    });
    await session.removeSnapshot('snapshot-3');
  });

  test('a vCenter that is gone for good is not waited for', async () => {
    vcenter.on('RemoveSnapshot_Task', task('task-1', '<state>running</state>'));
    const removing = failureOf(session.removeSnapshot('snapshot-3'));
    await eventually('the removal has begun', () => count('WaitForUpdatesEx') > 0);
    await vcenter[Symbol.asyncDispose]();
    expect((await removing).code).toBe('vcenter_unreachable');
    vcenter = await ScriptedVCenter.start();
  });

  test('a session that expires while waiting is renewed, and the waiting goes on', async () => {
    vcenter.on('RemoveSnapshot_Task', task('task-1', '<state>running</state>'));
    const noCollector = fault(
      'ManagedObjectNotFound',
      'gone',
      moref('obj', 'PropertyCollector', 'collector-1'),
    );
    vcenter.on(
      'WaitForUpdatesEx',
      () => {
        vcenter.expireSessions();
        return fault('NotAuthenticated');
      },
      noCollector,
      (request) => {
        done('task-1');
        return vcenter.builtIn(request.method, request);
      },
    );
    await session.removeSnapshot('snapshot-3');
    expect(vcenter.logins).toBe(2);
    expect(count('CreatePropertyCollector')).toBe(2);
  });

  test('where the server cannot wait for updates, the task is asked again and again', async () => {
    vcenter.on('RemoveSnapshot_Task', task('task-1', '<state>running</state>'));
    vcenter.on('CreatePropertyCollector', () => {
      setTimeout(() => done('task-1'), 50);
      return fault('NotSupported');
    });
    await session.removeSnapshot('snapshot-3');
    expect(count('WaitForUpdatesEx')).toBe(0);
    expect(count('CreatePropertyCollector')).toBe(1);
  });

  test('its own time limit', async () => {
    await using hasty = await connectTo(vcenter, { taskTimeoutMs: 200 });
    vcenter.on('RemoveSnapshot_Task', task('task-1', '<state>running</state>'));
    vcenter.on('WaitForUpdatesEx', hang);
    const error = await failureOf(hasty.removeSnapshot('snapshot-3'));
    expect(error).toMatchObject({ code: 'vcenter_task_timeout' });
    expect(error.message).toContain('task-1');
  });
});

describeScripted('consolidating', () => {
  test('only when vSphere asks for it', async () => {
    vcenter.on('ConsolidateVMDisks_Task', done('task-1'));
    expect(await session.consolidateIfNeeded('vm-57')).toBe(false);
    setVm({ 'runtime.consolidationNeeded': val('xsd:boolean', 'false') });
    expect(await session.consolidateIfNeeded('vm-57')).toBe(false);
    expect(count('ConsolidateVMDisks_Task')).toBe(0);
    setVm({ 'runtime.consolidationNeeded': val('xsd:boolean', 'true') });
    expect(await session.consolidateIfNeeded('vm-57')).toBe(true);
    expect(count('ConsolidateVMDisks_Task')).toBe(1);
  });

  test('a failure is the fault of VMware', async () => {
    setVm({ 'runtime.consolidationNeeded': val('xsd:boolean', 'true') });
    vcenter.on('ConsolidateVMDisks_Task', failed('task-1', 'FileLocked', 'locked'));
    expect((await failureOf(session.consolidateIfNeeded('vm-57'))).context['fault']).toBe('FileLocked');
  });
});

describeScripted('enabling changed block tracking', () => {
  test('reconfigures, then creates and removes a snapshot so that it starts', async () => {
    vcenter.on('ReconfigVM_Task', done('task-1'));
    vcenter.on('CreateSnapshot_Task', done('task-2', CREATED));
    vcenter.on('RemoveSnapshot_Task', done('task-3'));
    expect(await session.enableChangeTracking('vm-57')).toBe('enabled_now');
    const changes = vcenter.methods().filter((method) => method.endsWith('_Task'));
    expect(changes).toEqual(['ReconfigVM_Task', 'CreateSnapshot_Task', 'RemoveSnapshot_Task']);
    expect(parameters('CreateSnapshot_Task')[0]?.[0]).toMatch(/^name=sendense-/);
  });

  test.each<[string, Record<string, string>, string]>([
    ['it is on', { 'config.changeTrackingEnabled': val('xsd:boolean', 'true') }, 'already_enabled'],
    ['the VM cannot', { 'capability.changeTrackingSupported': val('xsd:boolean', 'false') }, 'not_supported'],
    ['its hardware is too old', { 'config.version': val('xsd:string', 'vmx-04') }, 'not_supported'],
    ['its hardware is unknown', { 'config.version': val('xsd:string', '') }, 'not_supported'],
    ['it has snapshots', { snapshot: pyvmomiReplies['snapshots']! }, 'snapshots_exist'],
  ])('when %s nothing is changed', async (_when, properties, outcome) => {
    setVm(properties);
    expect(await session.enableChangeTracking('vm-57')).toBe(outcome);
    expect(vcenter.methods().filter((method) => method.endsWith('_Task'))).toEqual([]);
  });

  test('cancelled after the snapshot was taken: it is removed all the same', async () => {
    const stop = new AbortController();
    vcenter.on('ReconfigVM_Task', done('task-1'));
    vcenter.on('CreateSnapshot_Task', () => {
      stop.abort();
      return done('task-2', CREATED);
    });
    vcenter.on('RemoveSnapshot_Task', done('task-3'));
    await session.enableChangeTracking('vm-57', stop.signal).catch(() => undefined);
    expect(count('RemoveSnapshot_Task')).toBe(1);
  });
});
