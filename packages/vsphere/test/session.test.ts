import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { eventually, requires } from '@sendense/runtime/testing';
import { connectTo, failureOf, recordingLogger } from './connect.js';
import { pyvmomiReplies } from './fixtures.js';
import {
  drop,
  fault,
  hang,
  moref,
  PASSWORD,
  ScriptedVCenter,
  USERNAME,
  type Answer,
  val,
  values,
} from './scripted-vcenter.js';

const describeScripted = requires(describe, 'openssl');

let vcenter: ScriptedVCenter;
beforeEach(async () => {
  vcenter = await ScriptedVCenter.start();
});
afterEach(async () => {
  await vcenter[Symbol.asyncDispose]();
});

function addVm(name: string, index: number, properties: Record<string, string> = {}): void {
  vcenter.objects.set(`vm-${index}`, {
    type: 'VirtualMachine',
    properties: {
      name: val('xsd:string', name),
      'config.template': val('xsd:boolean', 'false'),
      'config.instanceUuid': val('xsd:string', `uuid-${index}`),
      'config.hardware.device': pyvmomiReplies['devices']!,
      'runtime.host': '<val type="HostSystem" xsi:type="ManagedObjectReference">host-9</val>',
      'runtime.powerState': val('VirtualMachinePowerState', 'poweredOn'),
      ...properties,
    },
  });
  vcenter.objects.set('host-9', { type: 'HostSystem', properties: { name: val('xsd:string', 'esx 9') } });
}

describeScripted('a session', () => {
  test('knows what it is connected to, and says goodbye', async () => {
    {
      await using session = await connectTo(vcenter);
      expect(session.about).toEqual({
        product: 'VMware vCenter Server',
        version: '8.0.2',
        apiVersion: '8.0.2.0',
        instanceUuid: '2c1d-uuid',
      });
    }
    expect(vcenter.methods()).toEqual(['RetrieveServiceContent', 'Login', 'Logout']);
    await eventually('no connection is left', () => vcenter.openConnections === 0);
  });

  test('is not usable once it has ended', async () => {
    const session = await connectTo(vcenter);
    await session[Symbol.asyncDispose]();
    await session[Symbol.asyncDispose]();
    const error = await failureOf(session.listVirtualMachines());
    expect(error.code).toBe('cancelled');
    expect(vcenter.methods().filter((method) => method === 'Logout')).toHaveLength(1);
  });

  test('ends in time although vCenter no longer answers', async () => {
    const session = await connectTo(vcenter);
    vcenter.on('Logout', drop);
    await session[Symbol.asyncDispose]();
    await eventually('no connection is left', () => vcenter.openConnections === 0);
  });

  test('a wrong password', async () => {
    const error = await failureOf(connectTo(vcenter, { password: 'wrong' }));
    expect(error.code).toBe('vcenter_login_failed');
    expect(error.context['fault']).toBe('InvalidLogin');
    expect(error.message).toContain(USERNAME);
    expect(error.message).toContain('incorrect user name or password');
    await eventually('no connection is left', () => vcenter.openConnections === 0);
  });

  test('keeps its connection for the next query', async () => {
    await using session = await connectTo(vcenter);
    await session.listVirtualMachines();
    await session.listVirtualMachines();
    expect(vcenter.connections).toBe(1);
  });

  test('a kept connection that the server has closed is no failure', async () => {
    await using session = await connectTo(vcenter);
    await session.listVirtualMachines();
    // Ends the connection only when the next request has arrived on it: nobody could have known.
    vcenter.on('CreateContainerView', drop, (request) => vcenter.builtIn('CreateContainerView', request));
    await session.listVirtualMachines();
    expect(vcenter.methods().filter((method) => method === 'CreateContainerView')).toHaveLength(3);
    expect(vcenter.logins).toBe(1);
  });

  test('what changes something is sent once, on a connection of its own', async () => {
    vcenter.on('CreateSnapshot_Task', drop, fault('MethodNotFound'));
    await using session = await connectTo(vcenter);
    const request = { name: 'n', description: 'd', quiesce: false };
    expect((await failureOf(session.createSnapshot('vm-1', request))).code).toBe('vcenter_unreachable');
    expect(vcenter.methods().filter((method) => method === 'CreateSnapshot_Task')).toHaveLength(1);
  });
});

describeScripted('an expired session', () => {
  test('is renewed once and the call repeated', async () => {
    addVm('a', 1);
    await using session = await connectTo(vcenter);
    vcenter.expireSessions();
    expect(await session.listVirtualMachines()).toHaveLength(1);
    expect(vcenter.logins).toBe(2);
  });

  test('many calls at once log in once', async () => {
    addVm('a', 1);
    await using session = await connectTo(vcenter);
    vcenter.expireSessions();
    const lists = await Promise.all(Array.from({ length: 8 }, async () => session.listVirtualMachines()));
    expect(lists.map((list) => list.length)).toEqual(Array.from({ length: 8 }, () => 1));
    expect(vcenter.logins).toBe(2);
  });

  test('between two pages: the list is read again from the start', async () => {
    for (let index = 0; index < 250; index++) addVm(`vm ${index}`, index);
    await using session = await connectTo(vcenter);
    let pages = 0;
    vcenter.on('ContinueRetrievePropertiesEx', (request) => {
      if (++pages !== 2) return vcenter.builtIn(request.method, request);
      vcenter.expireSessions();
      return fault('NotAuthenticated');
    });
    const found = await session.listVirtualMachines();
    expect(new Set(found.map((vm) => vm.moref)).size).toBe(250);
    expect(vcenter.methods().filter((method) => method === 'CreateContainerView')).toHaveLength(2);
    expect(vcenter.logins).toBe(2);
  });

  test('that ends again at once is an error', async () => {
    await using session = await connectTo(vcenter);
    vcenter.on('CreateContainerView', fault('NotAuthenticated'));
    const error = await failureOf(session.listVirtualMachines());
    expect(error.code).toBe('vcenter_session_expired');
    expect(vcenter.logins).toBe(2);
  });

  test('whose password was changed meanwhile', async () => {
    await using session = await connectTo(vcenter);
    vcenter.expireSessions();
    vcenter.on('Login', fault('InvalidLogin'));
    expect((await failureOf(session.listVirtualMachines())).code).toBe('vcenter_login_failed');
  });

  test('a stray cookie of another reply changes nothing', async () => {
    await using session = await connectTo(vcenter);
    vcenter.on('CreateContainerView', {
      values: [moref('returnval', 'ContainerView', 'view-VirtualMachine')],
      setCookie: 'vmware_soap_session=anonymous',
    });
    await session.listVirtualMachines();
    expect(vcenter.requests.at(-1)?.cookie).toBe('secret-cookie-1');
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
    addVm('a', 1, { snapshot: pyvmomiReplies['snapshots']! });
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

describeScripted('a fault', () => {
  test('keeps the name, the message and the details that VMware gave it', async () => {
    await using session = await connectTo(vcenter);
    vcenter.on('CreateContainerView', {
      fault: 'NoPermission',
      message: 'Permission to perform this operation was denied.',
      detail: pyvmomiReplies['fault_no_permission']!,
    });
    const error = await failureOf(session.listVirtualMachines());
    expect(error.code).toBe('vcenter_fault');
    expect(error.context).toMatchObject({
      endpoint: vcenter.endpoint,
      fault: 'NoPermission',
      fault_message: 'Permission to perform this operation was denied.',
      privilege: 'VirtualMachine.State.CreateSnapshot',
      object: 'vm-57',
    });
    expect(error.message).toBe(
      'vCenter refused CreateContainerView of ViewManager: NoPermission: Permission to perform this operation was denied. ' +
        '(object vm-57, privilege VirtualMachine.State.CreateSnapshot)',
    );
  });

  test('without details still says what it can', async () => {
    await using session = await connectTo(vcenter);
    vcenter.on('CreateContainerView', { fault: '', message: 'it is Monday' });
    const error = await failureOf(session.listVirtualMachines());
    expect(error).toMatchObject({ code: 'vcenter_fault' });
    expect(error.message).toContain('unknown fault: it is Monday');
  });

  test('cannot forge a log line', async () => {
    await using session = await connectTo(vcenter);
    vcenter.on('CreateContainerView', fault('RuntimeFault', 'one\n{"level":"error"}\u001b[2J'));
    expect((await failureOf(session.listVirtualMachines())).message).not.toMatch(/\p{Cc}/u);
  });
});

describeScripted('the password and the cookie', () => {
  test('appear in no log line and no error, even when the server repeats them', async () => {
    const { log, lines } = recordingLogger();
    const errors: string[] = [];
    const note = (error: unknown): void => {
      for (let at = error; at instanceof Error; at = at.cause) errors.push(at.message, at.stack ?? '');
      errors.push(JSON.stringify(error));
    };
    const escaped = PASSWORD.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
    vcenter.on('CreateContainerView', (request) =>
      fault('RuntimeFault', `${escaped} and ${request.cookie}`, `<obj>${request.cookie}</obj>`),
    );
    vcenter.on('RetrievePropertiesEx', { raw: `<html>${escaped}` });
    vcenter.on('RemoveSnapshot_Task', drop);
    {
      await using session = await connectTo(vcenter, { log });
      note(await failureOf(session.listVirtualMachines()));
      note(await failureOf(session.snapshots('vm-1')));
      note(await failureOf(session.removeSnapshot('snapshot-1')));
      vcenter.expireSessions();
      note(await failureOf(session.snapshots('vm-1')));
      vcenter.on('Login', fault('InvalidLogin', `not ${escaped}`));
      vcenter.expireSessions();
      note(await failureOf(session.snapshots('vm-1')));
    }
    note(await failureOf(connectTo(vcenter, { log, requestTimeoutMs: 200, thumbprint: '' })));
    vcenter.on('Login', hang);
    note(await failureOf(connectTo(vcenter, { log, requestTimeoutMs: 200 })));
    const everything = [...lines, ...errors].join('\n');
    expect(lines.length).toBeGreaterThan(5);
    expect(errors.length).toBeGreaterThan(10);
    expect(everything).toContain('[secret]');
    expect(everything).not.toContain(PASSWORD);
    expect(everything).not.toContain(escaped);
    expect(everything).not.toContain('secret-cookie');
  });
});

describeScripted('the inventory', () => {
  test('names as people see them, hosts by name, in the order of names, templates left out', async () => {
    addVm('b', 1);
    addVm('a%2fb %5c %25 %41 <&>\n', 2, { 'config.changeTrackingEnabled': val('xsd:boolean', 'true') });
    addVm('template', 3, { 'config.template': val('xsd:boolean', 'true') });
    addVm('a', 4, { snapshot: pyvmomiReplies['snapshots']! });
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
    for (let index = 0; index < 310; index++) addVm(`vm ${index}`, index);
    await using session = await connectTo(vcenter);
    const found = await session.listVirtualMachines();
    expect(new Set(found.map((vm) => vm.moref)).size).toBe(310);
    expect(vcenter.methods().filter((method) => method === 'ContinueRetrievePropertiesEx')).toHaveLength(3);
    expect(vcenter.methods()).toContain('DestroyView');
  });

  test('one VM by moref, uuid, name and path', async () => {
    addVm('a', 1);
    addVm('b', 2);
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
    addVm('a', 1);
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
