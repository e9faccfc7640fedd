import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { silentLogger } from '@sendense/runtime';
import { requires } from '@sendense/runtime/testing';
import { connectVSphere } from '../src/session.js';
import { value } from '../src/soap/markup.js';
import { readText } from '../src/soap/values.js';
import { fetchThumbprints } from '../src/transport/pinned-tls.js';
import { parseEndpoint } from '../src/transport/endpoint.js';
import { SoapTransport } from '../src/transport/soap-transport.js';
import { parsePin } from '../src/transport/thumbprints.js';
import type { ConnectOptions, VSphereSession } from '../src/types.js';
import { VimClient } from '../src/vim/client.js';
import { retrieveObject } from '../src/vim/properties.js';
import { failureOf, recordingLogger } from './connect.js';
import { startVcsim, type Vcsim } from './vcsim.js';

const describeVcsim = requires(describe, 'vcsim');
const login = { username: 'backup', password: 'a <p&ss> wörd' };
const GIB = 2 ** 30;

async function connectTo(vcsim: Vcsim, options: Partial<ConnectOptions> = {}): Promise<VSphereSession> {
  const thumbprint = vcsim.thumbprints.sha256;
  return connectVSphere({ endpoint: vcsim.endpoint, ...login, thumbprint, log: silentLogger, ...options });
}

/** Ends a session as an administrator would, from another one. */
async function terminateSessionsOf(vcsim: Vcsim): Promise<void> {
  const transport = new SoapTransport(
    parseEndpoint(vcsim.endpoint),
    parsePin(vcsim.thumbprints.sha1),
    10_000,
  );
  const admin = new VimClient(transport, login, 10_000, silentLogger);
  await admin.login();
  const { sessionManager } = admin.service;
  const manager = await retrieveObject(admin, sessionManager, ['sessionList', 'currentSession']);
  const own = readText(manager.get('currentSession')?.child('key'));
  const others = manager
    .items('sessionList')
    .map((session) => readText(session.child('key')))
    .filter((key) => key !== undefined && key !== own);
  await admin.call(
    'TerminateSession',
    sessionManager,
    others.map((key) => value('sessionId', key ?? '')),
  );
  await admin.logout(1000);
  transport[Symbol.dispose]();
}

describeVcsim('against vcsim', () => {
  let vcsim: Vcsim;
  beforeAll(async () => {
    // Tasks take 300 ms, so that there is something to wait for.
    const slow = ['-method-delay', 'CreateSnapshot:300,RemoveSnapshot:300,LockHandoff:0'];
    vcsim = await startVcsim({ ...login, args: ['-vm', '2', ...slow] });
  });
  afterAll(async () => {
    await vcsim[Symbol.asyncDispose]();
  });

  test('the thumbprints of its certificate', async () => {
    expect(await fetchThumbprints(vcsim.endpoint)).toEqual(vcsim.thumbprints);
  });

  test('login with either thumbprint, and what it is', async () => {
    for (const thumbprint of [
      vcsim.thumbprints.sha1.toLowerCase(),
      vcsim.thumbprints.sha256.replaceAll(':', ''),
    ]) {
      await using session = await connectTo(vcsim, { thumbprint, endpoint: `https://${vcsim.endpoint}/sdk` });
      expect(session.about.product).toBe('VMware vCenter Server');
      expect(session.about.apiVersion).toMatch(/^\d/);
      expect(session.about.instanceUuid).toMatch(/^[0-9a-f-]{36}$/);
      expect(session.thumbprints).toEqual(vcsim.thumbprints);
    }
  });

  test('a wrong password', async () => {
    const error = await failureOf(connectTo(vcsim, { password: 'wrong' }));
    expect(error).toMatchObject({ code: 'vcenter_login_failed' });
    expect(error.context['fault']).toBe('InvalidLogin');
  });

  test('a wrong thumbprint', async () => {
    const error = await failureOf(connectTo(vcsim, { thumbprint: '12'.repeat(20) }));
    expect(error).toMatchObject({ code: 'vcenter_thumbprint_mismatch' });
    expect(error.context['presented']).toBe(vcsim.thumbprints.sha1);
  });

  test('the inventory, with its odd disk keys', async () => {
    await using session = await connectTo(vcsim);
    const vms = await session.listVirtualMachines();
    expect(vms.map((vm) => vm.name)).toEqual([
      'DC0_C0_RP0_VM0',
      'DC0_C0_RP0_VM1',
      'DC0_H0_VM0',
      'DC0_H0_VM1',
    ]);
    const vm = vms[2]!;
    expect(vm).toMatchObject({ powerState: 'poweredOn', hostName: 'DC0_H0', snapshotCount: 0 });
    expect(vm.hardwareVersion).toMatch(/^vmx-/);
    expect(vm.disks).toHaveLength(1);
    expect(vm.disks[0]).toMatchObject({ datastore: 'LocalDS_0', capacityBytes: 10 * GIB });
    expect(vm.disks[0]?.backingFile).toBe('[LocalDS_0] DC0_H0_VM0/disk1.vmdk');
    // vCenter counts the disks of a VM from 2000 on; vcsim numbers them among all of its devices, 203, 204.
    for (const { disks } of vms) {
      expect(disks[0]!.key).toBeGreaterThan(200);
      expect(disks[0]!.key).toBeLessThan(300);
    }

    const { moref, instanceUuid, name } = vm;
    for (const filter of [{ moref }, { instanceUuid }, { name }, { inventoryPath: `/DC0/vm/${name}` }]) {
      expect(await session.listVirtualMachines(filter)).toEqual([vm]);
    }
    for (const filter of [
      { moref: 'vm-1' },
      { instanceUuid: 'none' },
      { name: 'none' },
      { inventoryPath: '/DC0' },
    ]) {
      expect(await session.listVirtualMachines(filter)).toEqual([]);
    }
  });

  test('a snapshot is created, read and removed, each time to the end of its task', async () => {
    await using session = await connectTo(vcsim);
    const [vm] = await session.listVirtualMachines({ name: 'DC0_H0_VM0' });
    const request = { name: 'sendense-job-1', description: 'by <node-1>', quiesce: true };
    const created = await session.createSnapshot(vm!.moref, request);
    expect(created).toMatchObject({ quiesced: false });
    expect(created.quiesceNote).toMatch(/Tools/);
    expect(await session.snapshots(vm!.moref)).toMatchObject([
      { moref: created.moref, name: 'sendense-job-1', description: 'by <node-1>' },
    ]);
    const [disk] = await session.snapshotDisks(created.moref);
    expect(disk).toMatchObject({ key: vm!.disks[0]!.key, capacityBytes: 10 * GIB });
    expect(disk).not.toHaveProperty('changeId');
    expect(await session.enableChangeTracking(vm!.moref)).toBe('snapshots_exist');

    await session.removeSnapshot(created.moref);
    expect(await session.snapshots(vm!.moref)).toEqual([]);
    await session.removeSnapshot(created.moref);
    expect((await failureOf(session.snapshotDisks(created.moref))).code).toBe('not_found');
    expect(await session.consolidateIfNeeded(vm!.moref)).toBe(false);
  });

  test('changed block tracking is enabled, once, and without a snapshot', async () => {
    await using session = await connectTo(vcsim);
    const [vm] = await session.listVirtualMachines({ name: 'DC0_C0_RP0_VM1' });
    expect(vm).toMatchObject({ changeTrackingSupported: true, changeTrackingEnabled: false });
    expect(await session.enableChangeTracking(vm!.moref)).toBe('enabled_now');
    expect(await session.enableChangeTracking(vm!.moref)).toBe('already_enabled');
    const [after] = await session.listVirtualMachines({ moref: vm!.moref });
    expect(after).toMatchObject({ changeTrackingEnabled: true, snapshotCount: 0 });
  });

  test('several tasks are waited for at once', async () => {
    await using session = await connectTo(vcsim);
    const vms = await session.listVirtualMachines();
    const request = { name: 'sendense-many', description: '', quiesce: false };
    const made = await Promise.all(vms.map(async (vm) => session.createSnapshot(vm.moref, request)));
    expect(new Set(made.map((snapshot) => snapshot.moref)).size).toBe(vms.length);
    await Promise.all(made.map(async (snapshot) => session.removeSnapshot(snapshot.moref)));
    const left = await Promise.all(vms.map(async (vm) => session.snapshots(vm.moref)));
    expect(left.flat()).toEqual([]);
  });

  test("somebody else's snapshot stays", async () => {
    await using session = await connectTo(vcsim);
    const [vm] = await session.listVirtualMachines({ name: 'DC0_H0_VM1' });
    const theirs = await session.createSnapshot(vm!.moref, {
      name: 'theirs',
      description: '',
      quiesce: false,
    });
    const ours = await session.createSnapshot(vm!.moref, {
      name: 'sendense-x',
      description: '',
      quiesce: false,
    });
    expect((await session.listVirtualMachines({ moref: vm!.moref }))[0]?.snapshotCount).toBe(2);
    await session.removeSnapshot(ours.moref);
    expect((await session.snapshots(vm!.moref)).map((snapshot) => snapshot.name)).toEqual(['theirs']);
    await session.removeSnapshot(theirs.moref);
  });

  test('a session that an administrator ended is renewed', async () => {
    const { log, lines } = recordingLogger();
    await using session = await connectTo(vcsim, { log });
    await terminateSessionsOf(vcsim);
    const lists = await Promise.all([session.listVirtualMachines(), session.listVirtualMachines()]);
    expect(lists.map((list) => list.length)).toEqual([4, 4]);
    expect(lines.filter((line) => line.includes('logged in again'))).toHaveLength(1);
  });

  test('a session that ends while a task is waited for', async () => {
    await using session = await connectTo(vcsim);
    const [vm] = await session.listVirtualMachines({ name: 'DC0_C0_RP0_VM0' });
    const creating = session.createSnapshot(vm!.moref, {
      name: 'sendense-y',
      description: '',
      quiesce: false,
    });
    await terminateSessionsOf(vcsim);
    const { moref } = await creating;
    await session.removeSnapshot(moref);
    expect(await session.snapshots(vm!.moref)).toEqual([]);
  });

  test('changed areas, which it does not know, are unavailable', async () => {
    await using session = await connectTo(vcsim);
    const [vm] = await session.listVirtualMachines({ name: 'DC0_C0_RP0_VM0' });
    const areas = {
      vmMoref: vm!.moref,
      snapshotMoref: 'snapshot-1',
      diskKey: vm!.disks[0]!.key,
      changeId: '*',
    };
    const error = await failureOf(session.changedAreas({ ...areas, capacityBytes: 10 * GIB }));
    expect(error.code).toBe('changed_areas_unavailable');
  });

  test('the VM is gone', async () => {
    await using session = await connectTo(vcsim);
    expect((await failureOf(session.snapshots('vm-1'))).code).toBe('vm_not_found');
    expect((await failureOf(session.enableChangeTracking('vm-1'))).code).toBe('vm_not_found');
    expect((await failureOf(session.consolidateIfNeeded('vm-1'))).code).toBe('vm_not_found');
    const request = { name: 'n', description: '', quiesce: false };
    expect((await failureOf(session.createSnapshot('vm-1', request))).code).toBe('vm_not_found');
  });

  test('it is killed in the middle', async () => {
    await using own = await startVcsim(login);
    const session = await connectTo(own);
    await own[Symbol.asyncDispose]();
    expect((await failureOf(session.listVirtualMachines())).code).toBe('vcenter_unreachable');
    await session[Symbol.asyncDispose]();
  });
});

describeVcsim('against vcsim as a standalone ESXi host', () => {
  test('inventory and snapshots', async () => {
    await using esx = await startVcsim({ ...login, args: ['-esx'] });
    await using session = await connectTo(esx);
    expect(session.about.product).toMatch(/ESXi/);
    const [vm] = await session.listVirtualMachines();
    const created = await session.createSnapshot(vm!.moref, {
      name: 'sendense-z',
      description: '',
      quiesce: false,
    });
    expect(await session.snapshotDisks(created.moref)).toHaveLength(vm!.disks.length);
    await session.removeSnapshot(created.moref);
  });
});

describeVcsim('against vcsim with a large inventory', () => {
  test('every page is read', async () => {
    await using large = await startVcsim({ ...login, args: ['-vm', '55'] });
    await using session = await connectTo(large);
    const vms = await session.listVirtualMachines();
    expect(new Set(vms.map((vm) => vm.moref)).size).toBe(110);
  });
});
