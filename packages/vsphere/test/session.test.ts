import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { eventually, requires } from '@sendense/runtime/testing';
import { drop, fault, hang, moref } from './answers.js';
import { connectTo, failureOf, recordingLogger } from './connect.js';
import { pyvmomiReplies } from './fixtures.js';
import { PASSWORD, ScriptedVCenter, USERNAME } from './scripted-vcenter.js';

const describeScripted = requires(describe, 'openssl');

let vcenter: ScriptedVCenter;
beforeEach(async () => {
  vcenter = await ScriptedVCenter.start();
});
afterEach(async () => {
  await vcenter[Symbol.asyncDispose]();
});

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
    expect(vcenter.count('Logout')).toBe(1);
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
    expect(vcenter.count('CreateContainerView')).toBe(3);
    expect(vcenter.logins).toBe(1);
  });

  test('what changes something is sent once, on a connection of its own', async () => {
    vcenter.on('CreateSnapshot_Task', drop, fault('MethodNotFound'));
    await using session = await connectTo(vcenter);
    const request = { name: 'n', description: 'd', quiesce: false };
    expect((await failureOf(session.createSnapshot('vm-1', request))).code).toBe('vcenter_unreachable');
    expect(vcenter.count('CreateSnapshot_Task')).toBe(1);
  });
});

describeScripted('an expired session', () => {
  test('is renewed once and the call repeated', async () => {
    vcenter.addVm('a', 1);
    await using session = await connectTo(vcenter);
    vcenter.expireSessions();
    expect(await session.listVirtualMachines()).toHaveLength(1);
    expect(vcenter.logins).toBe(2);
  });

  test('many calls at once log in once', async () => {
    vcenter.addVm('a', 1);
    await using session = await connectTo(vcenter);
    vcenter.expireSessions();
    const lists = await Promise.all(Array.from({ length: 8 }, async () => session.listVirtualMachines()));
    expect(lists.map((list) => list.length)).toEqual(Array.from({ length: 8 }, () => 1));
    expect(vcenter.logins).toBe(2);
  });

  test('between two pages: the list is read again from the start', async () => {
    for (let index = 0; index < 250; index++) vcenter.addVm(`vm ${index}`, index);
    await using session = await connectTo(vcenter);
    let pages = 0;
    vcenter.on('ContinueRetrievePropertiesEx', (request) => {
      if (++pages !== 2) return vcenter.builtIn(request.method, request);
      vcenter.expireSessions();
      return fault('NotAuthenticated');
    });
    const found = await session.listVirtualMachines();
    expect(new Set(found.map((vm) => vm.moref)).size).toBe(250);
    expect(vcenter.count('CreateContainerView')).toBe(2);
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

  test('whose renewal hangs does not hold a cancelled call', async () => {
    await using session = await connectTo(vcenter);
    const stop = new AbortController();
    vcenter.expireSessions();
    vcenter.on('Login', {
      act: () => {
        stop.abort();
      },
    });
    const request = { name: 'n', description: '', quiesce: true };
    const error = await failureOf(session.createSnapshot('vm-1', request, stop.signal));
    expect(error.code).toBe('cancelled');
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
