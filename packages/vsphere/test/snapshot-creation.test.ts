import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { requires } from '@sendense/runtime/testing';
import type { VSphereSession } from '../src/types.js';
import { fault, moref, val, values } from './answers.js';
import { connectTo, failureOf, recordingLogger } from './connect.js';
import { pyvmomiReplies } from './fixtures.js';
import { ScriptedVCenter } from './scripted-vcenter.js';

const describeScripted = requires(describe, 'openssl');

let vcenter: ScriptedVCenter;
let session: VSphereSession;
beforeEach(async () => {
  vcenter = await ScriptedVCenter.start();
  session = await connectTo(vcenter);
  vcenter.addVm('pgtest1', 57);
});
afterEach(async () => {
  await session[Symbol.asyncDispose]();
  await vcenter[Symbol.asyncDispose]();
});

const CREATED = '<result type="VirtualMachineSnapshot" xsi:type="ManagedObjectReference">snapshot-3</result>';
const REQUEST = { name: 'sendense-job-1', description: 'by node-1', quiesce: false };
const QUIESCED = { ...REQUEST, quiesce: true };

describeScripted('creating a snapshot', () => {
  test('one task, without memory', async () => {
    vcenter.on('CreateSnapshot_Task', vcenter.done('task-1', CREATED));
    expect(await session.createSnapshot('vm-57', REQUEST)).toEqual({ moref: 'snapshot-3', quiesced: false });
    expect(vcenter.parameters('CreateSnapshot_Task')).toEqual([
      ['name=sendense-job-1', 'description=by node-1', 'memory=false', 'quiesce=false'],
    ]);
  });

  test('quiesced, when vSphere recorded it as such', async () => {
    vcenter.addVm('pgtest1', 57, { snapshot: pyvmomiReplies['snapshots']! });
    vcenter.on('CreateSnapshot_Task', vcenter.done('task-1', CREATED));
    expect(await session.createSnapshot('vm-57', QUIESCED)).toEqual({ moref: 'snapshot-3', quiesced: true });
  });

  test('quiesced was asked for and is not recorded', async () => {
    vcenter.on('CreateSnapshot_Task', vcenter.done('task-1', CREATED));
    const created = await session.createSnapshot('vm-57', QUIESCED);
    expect(created).toMatchObject({ moref: 'snapshot-3', quiesced: false });
    expect(created.quiesceNote).toMatch(/did not quiesce/);
  });

  test.each([
    ['runtime.powerState', 'poweredOff', /not running \(poweredOff\)/],
    ['runtime.powerState', 'suspended', /not running \(suspended\)/],
    ['guest.toolsRunningStatus', 'guestToolsNotRunning', /Tools are not running.*guestToolsNotRunning/],
  ])('quiescing is not asked for when %s is %s', async (path, state, note) => {
    vcenter.addVm('pgtest1', 57, { [path]: val('xsd:string', state) });
    vcenter.on('CreateSnapshot_Task', vcenter.done('task-1', CREATED));
    const created = await session.createSnapshot('vm-57', QUIESCED);
    expect(created).toMatchObject({ moref: 'snapshot-3', quiesced: false });
    expect(created.quiesceNote).toMatch(note);
    expect(vcenter.parameters('CreateSnapshot_Task')[0]).toContain('quiesce=false');
  });

  test('a guest that cannot be quiesced, as pyvmomi writes it: taken without, and the note says why', async () => {
    vcenter.objects.set('task-1', { type: 'Task', properties: { info: pyvmomiReplies['failed_task']! } });
    vcenter.on(
      'CreateSnapshot_Task',
      values(moref('returnval', 'Task', 'task-1')),
      vcenter.done('task-2', CREATED),
    );
    const created = await session.createSnapshot('vm-57', QUIESCED);
    expect(created).toMatchObject({ moref: 'snapshot-3', quiesced: false });
    expect(created.quiesceNote).toMatch(/ApplicationQuiesceFault: An error occurred while quiescing/);
    expect(vcenter.parameters('CreateSnapshot_Task').map((call) => call.at(-1))).toEqual([
      'quiesce=true',
      'quiesce=false',
    ]);
  });

  test('a general fault that speaks of quiescing is one, too', async () => {
    const message = 'An error occurred while taking a snapshot: Failed to quiesce the virtual machine.';
    vcenter.on(
      'CreateSnapshot_Task',
      vcenter.failed('task-1', 'GenericVmConfigFault', message),
      vcenter.done('task-2', CREATED),
    );
    expect(await session.createSnapshot('vm-57', QUIESCED)).toMatchObject({ quiesced: false });
    expect(vcenter.count('CreateSnapshot_Task')).toBe(2);
  });

  test('any other failure is one, with the fault of VMware', async () => {
    vcenter.on('CreateSnapshot_Task', vcenter.failed('task-1', 'InsufficientStorageSpace', 'no space left'));
    const error = await failureOf(session.createSnapshot('vm-57', QUIESCED));
    expect(error.code).toBe('snapshot_create_failed');
    expect(error.context).toMatchObject({
      fault: 'InsufficientStorageSpace',
      fault_message: 'no space left',
      task: 'task-1',
    });
    expect(vcenter.count('CreateSnapshot_Task')).toBe(1);
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
    vcenter.on('CreateSnapshot_Task', vcenter.running('task-1'));
    vcenter.on('WaitForUpdatesEx', (request) => {
      stop.abort();
      return vcenter.builtIn(request.method, request);
    });
    vcenter.on('CancelTask', () => {
      vcenter.failed('task-1', 'RequestCanceled', 'canceled');
      return values();
    });
    expect((await failureOf(session.createSnapshot('vm-57', REQUEST, stop.signal))).code).toBe('cancelled');
    expect(vcenter.count('CancelTask')).toBe(1);
    expect(vcenter.count('RemoveSnapshot_Task')).toBe(0);
  });

  test('cancelled while it is taken, and it is taken all the same: it is removed', async () => {
    const stop = new AbortController();
    vcenter.on('CreateSnapshot_Task', vcenter.running('task-1'));
    vcenter.on('WaitForUpdatesEx', (request) => {
      stop.abort();
      return vcenter.builtIn(request.method, request);
    });
    vcenter.on('CancelTask', () => {
      vcenter.done('task-1', CREATED);
      return fault('NotSupported');
    });
    vcenter.on('RemoveSnapshot_Task', vcenter.done('task-2'));
    expect((await failureOf(session.createSnapshot('vm-57', REQUEST, stop.signal))).code).toBe('cancelled');
    const removal = vcenter.requests.find((request) => request.method === 'RemoveSnapshot_Task');
    expect(removal?.target).toBe('snapshot-3');
  });

  test('cancelled before: nothing is asked for', async () => {
    expect((await failureOf(session.createSnapshot('vm-57', REQUEST, AbortSignal.abort()))).code).toBe(
      'cancelled',
    );
    expect(vcenter.count('CreateSnapshot_Task')).toBe(0);
  });

  test('that takes too long is given up, and taken back', async () => {
    await using hasty = await connectTo(vcenter, { taskTimeoutMs: 300 });
    vcenter.on('CreateSnapshot_Task', vcenter.running('task-1'));
    vcenter.on('CancelTask', () => {
      vcenter.failed('task-1', 'RequestCanceled', 'canceled');
      return values();
    });
    const error = await failureOf(hasty.createSnapshot('vm-57', REQUEST));
    expect(error.code).toBe('vcenter_task_timeout');
    expect(error.context['task']).toBe('task-1');
    expect(vcenter.count('CancelTask')).toBe(1);
  });

  test('a snapshot that cannot be taken back is in the log', async () => {
    const { log, lines } = recordingLogger();
    await using hasty = await connectTo(vcenter, { taskTimeoutMs: 200, log });
    vcenter.on('CreateSnapshot_Task', vcenter.running('task-1'));
    expect((await failureOf(hasty.createSnapshot('vm-57', REQUEST))).code).toBe('vcenter_task_timeout');
    expect(lines.join('')).toMatch(/could not take back the snapshot sendense-job-1 of vm-57/);
  });
});
