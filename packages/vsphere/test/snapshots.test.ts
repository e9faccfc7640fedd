import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { eventually, requires } from '@sendense/runtime/testing';
import type { VSphereSession } from '../src/types.js';
import { drop, fault, hang, moref, val, values } from './answers.js';
import { connectTo, failureOf } from './connect.js';
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
    vcenter.on('RemoveSnapshot_Task', vcenter.task('task-1', '<state>queued</state>'));
    const states = ['running', 'running', 'success'];
    vcenter.on('WaitForUpdatesEx', (request) => {
      vcenter.task('task-1', `<state>${states.shift() ?? 'success'}</state>`);
      return vcenter.builtIn(request.method, request);
    });
    await session.removeSnapshot('snapshot-3');
    expect(states).toEqual([]);
    expect(vcenter.parameters('RemoveSnapshot_Task')).toEqual([['removeChildren=false', 'consolidate=true']]);
    expect(vcenter.count('DestroyPropertyCollector')).toBe(1);
  });

  test('one that is gone already is removed', async () => {
    const gone = moref('obj', 'VirtualMachineSnapshot', 'snapshot-3');
    vcenter.on('RemoveSnapshot_Task', fault('ManagedObjectNotFound', 'gone', gone));
    await session.removeSnapshot('snapshot-3');
    vcenter.on('RemoveSnapshot_Task', vcenter.failed('task-1', 'ManagedObjectNotFound', 'gone', gone));
    await session.removeSnapshot('snapshot-3');
  });

  test('a VM or task that is gone does not mean that the snapshot is', async () => {
    vcenter.on('RemoveSnapshot_Task', values(moref('returnval', 'Task', 'task-99')));
    expect((await failureOf(session.removeSnapshot('snapshot-3'))).code).toBe('snapshot_remove_failed');
  });

  test('a failure keeps the fault', async () => {
    vcenter.on(
      'RemoveSnapshot_Task',
      vcenter.failed('task-1', 'FileLocked', 'Unable to access file since it is locked'),
    );
    const error = await failureOf(session.removeSnapshot('snapshot-3'));
    expect(error.code).toBe('snapshot_remove_failed');
    expect(error.context).toMatchObject({ fault: 'FileLocked', task: 'task-1' });
  });

  test('cancelling ends the waiting, never the removal', async () => {
    const stop = new AbortController();
    vcenter.on('RemoveSnapshot_Task', vcenter.running('task-1'));
    vcenter.on('WaitForUpdatesEx', {
      act: () => {
        stop.abort();
      },
    });
    expect((await failureOf(session.removeSnapshot('snapshot-3', stop.signal))).code).toBe('cancelled');
    expect(vcenter.count('CancelTask')).toBe(0);
  });

  test('a connection that breaks while waiting is forgiven', async () => {
    vcenter.on('RemoveSnapshot_Task', vcenter.running('task-1'));
    vcenter.on('WaitForUpdatesEx', drop, drop, (request) => {
      vcenter.done('task-1');
      return vcenter.builtIn(request.method, request);
    });
    await session.removeSnapshot('snapshot-3');
  });

  test('a vCenter that is gone for good is not waited for', async () => {
    vcenter.on('RemoveSnapshot_Task', vcenter.running('task-1'));
    const removing = failureOf(session.removeSnapshot('snapshot-3'));
    await eventually('the removal has begun', () => vcenter.count('WaitForUpdatesEx') > 0);
    await vcenter[Symbol.asyncDispose]();
    expect((await removing).code).toBe('vcenter_unreachable');
    vcenter = await ScriptedVCenter.start();
  });

  test('a session that expires while waiting is renewed, and the waiting goes on', async () => {
    vcenter.on('RemoveSnapshot_Task', vcenter.running('task-1'));
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
        vcenter.done('task-1');
        return vcenter.builtIn(request.method, request);
      },
    );
    await session.removeSnapshot('snapshot-3');
    expect(vcenter.logins).toBe(2);
    expect(vcenter.count('CreatePropertyCollector')).toBe(2);
  });

  test('where the server cannot wait for updates, the task is asked again and again', async () => {
    vcenter.on('RemoveSnapshot_Task', vcenter.running('task-1'));
    vcenter.on('CreatePropertyCollector', () => {
      setTimeout(() => vcenter.done('task-1'), 50);
      return fault('NotSupported');
    });
    await session.removeSnapshot('snapshot-3');
    expect(vcenter.count('WaitForUpdatesEx')).toBe(0);
    expect(vcenter.count('CreatePropertyCollector')).toBe(1);
  });

  test('its own time limit', async () => {
    await using hasty = await connectTo(vcenter, { taskTimeoutMs: 200 });
    vcenter.on('RemoveSnapshot_Task', vcenter.running('task-1'));
    vcenter.on('WaitForUpdatesEx', hang);
    const error = await failureOf(hasty.removeSnapshot('snapshot-3'));
    expect(error).toMatchObject({ code: 'vcenter_task_timeout' });
    expect(error.message).toContain('task-1');
  });
});

describeScripted('consolidating', () => {
  test('only when vSphere asks for it', async () => {
    vcenter.on('ConsolidateVMDisks_Task', vcenter.done('task-1'));
    expect(await session.consolidateIfNeeded('vm-57')).toBe(false);
    vcenter.addVm('pgtest1', 57, { 'runtime.consolidationNeeded': val('xsd:boolean', 'false') });
    expect(await session.consolidateIfNeeded('vm-57')).toBe(false);
    expect(vcenter.count('ConsolidateVMDisks_Task')).toBe(0);
    vcenter.addVm('pgtest1', 57, { 'runtime.consolidationNeeded': val('xsd:boolean', 'true') });
    expect(await session.consolidateIfNeeded('vm-57')).toBe(true);
    expect(vcenter.count('ConsolidateVMDisks_Task')).toBe(1);
  });

  test('a failure is the fault of VMware', async () => {
    vcenter.addVm('pgtest1', 57, { 'runtime.consolidationNeeded': val('xsd:boolean', 'true') });
    vcenter.on('ConsolidateVMDisks_Task', vcenter.failed('task-1', 'FileLocked', 'locked'));
    expect((await failureOf(session.consolidateIfNeeded('vm-57'))).context['fault']).toBe('FileLocked');
  });
});

describeScripted('enabling changed block tracking', () => {
  test('reconfigures, and takes no snapshot of its own for that', async () => {
    vcenter.on('ReconfigVM_Task', vcenter.done('task-1'));
    expect(await session.enableChangeTracking('vm-57')).toBe('enabled_now');
    expect(vcenter.methods().filter((method) => method.endsWith('_Task'))).toEqual(['ReconfigVM_Task']);
  });

  test.each<[string, Record<string, string>, string]>([
    ['it is on', { 'config.changeTrackingEnabled': val('xsd:boolean', 'true') }, 'already_enabled'],
    ['the VM cannot', { 'capability.changeTrackingSupported': val('xsd:boolean', 'false') }, 'not_supported'],
    ['its hardware is too old', { 'config.version': val('xsd:string', 'vmx-04') }, 'not_supported'],
    ['its hardware is unknown', { 'config.version': val('xsd:string', '') }, 'not_supported'],
    ['it has snapshots', { snapshot: pyvmomiReplies['snapshots']! }, 'snapshots_exist'],
  ])('when %s nothing is changed', async (_when, properties, outcome) => {
    vcenter.addVm('pgtest1', 57, properties);
    expect(await session.enableChangeTracking('vm-57')).toBe(outcome);
    expect(vcenter.methods().filter((method) => method.endsWith('_Task'))).toEqual([]);
  });
});
