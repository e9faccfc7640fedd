import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { requires } from '@sendense/runtime/testing';
import { moref, val, values, type Answer } from './answers.js';
import { connectTo, failureOf, recordingLogger } from './connect.js';
import { pyvmomiReplies } from './fixtures.js';
import { ScriptedVCenter } from './scripted-vcenter.js';

const describeScripted = requires(describe, 'openssl');

let vcenter: ScriptedVCenter;
beforeEach(async () => {
  vcenter = await ScriptedVCenter.start();
});
afterEach(async () => {
  await vcenter[Symbol.asyncDispose]();
});

describeScripted('the inventory', () => {
  test('names as people see them, hosts by name, in the order of names, templates left out', async () => {
    vcenter.addVm('b', 1);
    vcenter.addVm('a%2fb %5c %25 %41 <&>\n', 2, {
      'config.changeTrackingEnabled': val('xsd:boolean', 'true'),
    });
    vcenter.addVm('template', 3, { 'config.template': val('xsd:boolean', 'true') });
    vcenter.addVm('a', 4, { snapshot: pyvmomiReplies['snapshots']! });
    vcenter.objects.get('vm-2')!.properties['name'] = val(
      'xsd:string',
      'a%2fb %5c %25 %41 &lt;&amp;&gt;&#10;',
    );
    await using session = await connectTo(vcenter);
    const found = await session.listVirtualMachines();
    expect(found.map((vm) => [vm.name, vm.moref, vm.snapshotCount, vm.changeTrackingEnabled])).toEqual([
      ['a', 'vm-4', 5, false],
      ['a/b \\ % %41 <&>\n', 'vm-2', 0, true],
      ['b', 'vm-1', 0, false],
    ]);
    expect(found[0]).toMatchObject({ hostMoref: 'host-9', hostName: 'esx 9', powerState: 'poweredOn' });
    expect(found[0]?.disks).toHaveLength(8);
  });

  test('is read in pages to its end', async () => {
    for (let index = 0; index < 310; index++) vcenter.addVm(`vm ${index}`, index);
    await using session = await connectTo(vcenter);
    const found = await session.listVirtualMachines();
    expect(new Set(found.map((vm) => vm.moref)).size).toBe(310);
    expect(vcenter.count('ContinueRetrievePropertiesEx')).toBe(3);
    expect(vcenter.methods()).toContain('DestroyView');
  });

  test('one VM by moref, uuid, name and path', async () => {
    vcenter.addVm('a', 1);
    vcenter.addVm('b', 2);
    vcenter.on('FindByUuid', values(moref('returnval', 'VirtualMachine', 'vm-2')));
    vcenter.on('FindByInventoryPath', (request) =>
      request.element.child('inventoryPath')?.text === 'DC0/vm/b'
        ? values(moref('returnval', 'VirtualMachine', 'vm-2'))
        : values(moref('returnval', 'Folder', 'group-1')),
    );
    await using session = await connectTo(vcenter);
    const names = async (filter: Parameters<typeof session.listVirtualMachines>[0]) =>
      (await session.listVirtualMachines(filter)).map((vm) => vm.name);
    expect(await names({ moref: 'vm-2' })).toEqual(['b']);
    expect(await names({ moref: 'vm-7' })).toEqual([]);
    expect(await names({ moref: 'vm-2', name: 'a' })).toEqual([]);
    expect(await names({ instanceUuid: 'UUID-2' })).toEqual(['b']);
    expect(await names({ name: 'a' })).toEqual(['a']);
    expect(await names({ name: 'nobody' })).toEqual([]);
    expect(await names({ inventoryPath: '/DC0/vm/b' })).toEqual(['b']);
    expect(await names({ inventoryPath: 'DC0/vm' })).toEqual([]);
  });

  test('a VM without configuration is left out of the list, and an error when it was asked for', async () => {
    vcenter.addVm('a', 1);
    vcenter.objects.set('vm-2', {
      type: 'VirtualMachine',
      properties: {
        name: val('xsd:string', 'lost'),
        'runtime.connectionState': val('VirtualMachineConnectionState', 'inaccessible'),
      },
    });
    await using session = await connectTo(vcenter);
    expect((await session.listVirtualMachines()).map((vm) => vm.name)).toEqual(['a']);
    const error = await failureOf(session.listVirtualMachines({ name: 'lost' }));
    expect(error.code).toBe('vm_not_found');
    expect(error.message).toMatch(/lost \(vm-2, connection state inaccessible\)/);
  });
});

/** Properties of vm-1 of which some are missing for a reason. */
function missing(path: string, faultName: string, properties = ''): Answer {
  const fields = faultName === 'NoPermission' ? '<privilegeId>System.Read</privilegeId>' : '';
  const reason = `<fault><fault xsi:type="${faultName}">${fields}</fault><localizedMessage/></fault>`;
  const content = `${properties}<missingSet><path>${path}</path>${reason}</missingSet>`;
  return values(
    `<returnval><objects>${moref('obj', 'VirtualMachine', 'vm-1')}${content}</objects></returnval>`,
  );
}

describeScripted('a property that is missing for a reason is not unset', () => {
  test('the session ended while properties were collected: renewed, and read again', async () => {
    vcenter.addVm('a', 1, { snapshot: pyvmomiReplies['snapshots']! });
    await using session = await connectTo(vcenter);
    vcenter.on('RetrievePropertiesEx', missing('snapshot', 'NotAuthenticated'), (request) =>
      vcenter.builtIn(request.method, request),
    );
    expect(await session.snapshots('vm-1')).toHaveLength(5);
    expect(vcenter.logins).toBe(2);
  });

  test('the account may not read it', async () => {
    await using session = await connectTo(vcenter);
    vcenter.on('RetrievePropertiesEx', missing('snapshot', 'NoPermission'));
    const error = await failureOf(session.snapshots('vm-1'));
    expect(error.code).toBe('vcenter_fault');
    expect(error.context).toMatchObject({ fault: 'NoPermission', privilege: 'System.Read' });
    expect(error.message).toContain('reading snapshot of vm-1');
  });

  test('a VM that may not be read is left out of a list, and an error when it was asked for', async () => {
    const { log, lines } = recordingLogger();
    await using session = await connectTo(vcenter, { log });
    vcenter.on('RetrievePropertiesEx', missing('config.template', 'NoPermission'));
    expect(await session.listVirtualMachines()).toEqual([]);
    expect(lines.join('')).toMatch(/vm-1.*left out a VM that cannot be read/);
    expect((await failureOf(session.listVirtualMachines({ moref: 'vm-1' }))).context['fault']).toBe(
      'NoPermission',
    );
  });
});
