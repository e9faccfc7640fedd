import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { SendenseError } from '@sendense/core';
import { PASSWORD, TestNode, testVm, THUMBPRINT } from '../testing/test-node.js';
import { TestHub } from '../testing/test-hub.js';

let hub: TestHub;
let node: TestNode;
beforeAll(async () => {
  hub = await TestHub.start();
  node = await TestNode.connect(hub);
});
afterAll(async () => {
  await node[Symbol.asyncDispose]();
  await hub[Symbol.asyncDispose]();
});

const vcenter = (change: Record<string, unknown> = {}) => ({
  name: 'main',
  node_name: 'site-1',
  endpoint: 'vc.example.org:443',
  username: 'backup@vsphere.local',
  password: PASSWORD,
  thumbprint: THUMBPRINT,
  ...change,
});

describe('vCenters and their VMs', () => {
  it('show the certificate before anything is trusted', async () => {
    const { thumbprint: _, ...unconfirmed } = vcenter();
    const { status, body } = await hub.post('/api/v1/vcenters', unconfirmed);
    expect([status, body['code']]).toEqual([409, 'vcenter_thumbprint_unconfirmed']);
    expect(body['context']).toMatchObject({ thumbprint_sha256: THUMBPRINT, thumbprint_sha1: 'AB' });
    expect((await hub.get('/api/v1/vcenters')).body).toEqual({ vcenters: [] });
  });

  it.each([
    [{ password: 'wrong' }, 422, 'vcenter_login_failed'],
    [{ thumbprint: '00'.repeat(32) }, 409, 'vcenter_thumbprint_mismatch'],
    [{ thumbprint: 'zz' }, 400, 'invalid_argument'],
    [{ node_name: 'nobody' }, 404, 'node_not_found'],
    [{ endpoint: 'a b' }, 400, 'invalid_argument'],
    [{ endpoint: 'user:pw@host' }, 400, 'invalid_argument'],
    [{ passwort: 'x' }, 400, 'invalid_argument'],
  ])('refuse %j', async (change, status, code) => {
    const answer = await hub.post('/api/v1/vcenters', vcenter(change));
    expect([answer.status, answer.body['code']]).toEqual([status, code]);
    expect(answer.text).not.toContain(PASSWORD);
  });

  it('are stored after a login, and VMs are discovered and protected through the node', async () => {
    const added = await hub.post('/api/v1/vcenters', vcenter());
    expect(added.status).toBe(201);
    const id = String(added.body['vcenter_id']);
    expect((await hub.post('/api/v1/vcenters', vcenter())).body['code']).toBe('already_exists');
    expect((await hub.post(`/api/v1/vcenters/${id}/check`)).body).toMatchObject({ version: '8.0.3' });
    expect(node.asked.at(-1)).toMatchObject({ password: PASSWORD, thumbprint: THUMBPRINT });

    const odd = 'line\nbreak / "quoted" 🙂 ..';
    node.vms = [
      testVm('pgtest1'),
      testVm('twin', 'vm-1', 'independent'),
      testVm('twin', 'vm-2'),
      testVm(odd, 'vm-3'),
    ];
    const discovered = (await hub.get(`/api/v1/vcenters/${id}/vms`)).body['vms'] as Record<string, unknown>[];
    expect(discovered).toHaveLength(4);
    expect(discovered[1]).toMatchObject({
      name: 'twin',
      context_id: null,
      disks: [
        { disk_key: 2000, capacity_bytes: 2 ** 30, unsupported_reason: null },
        { unsupported_reason: 'independent' },
      ],
    });

    const protect = (body: Record<string, unknown>) => hub.post('/api/v1/vms', { vcenter_id: id, ...body });
    const made = await protect({ vm_name: 'pgtest1' });
    expect(made.status).toBe(201);
    const contextId = String(made.body['context_id']);
    expect(contextId).toMatch(/^ctx-pgtest1-\d{8}-\d{6}$/);
    expect(made.headers.get('location')).toBe(`/api/v1/vms/${contextId}`);
    expect(made.body).toMatchObject({
      vm_name: 'pgtest1',
      moref: 'vm-57',
      disks: [{ disk_number: 0 }, { disk_number: 1 }],
    });
    expect((await protect({ vm_name: 'pgtest1' })).body['code']).toBe('already_exists');

    const twins = await protect({ vm_name: 'twin' });
    expect([twins.status, twins.body['code']]).toEqual([409, 'conflict']);
    expect(twins.body['detail']).toContain('vm-1, vm-2');
    expect((await protect({ moref: 'vm-2' })).body).toMatchObject({ moref: 'vm-2' });

    expect((await protect({ vm_name: 'nobody' })).body['code']).toBe('vm_not_found');
    expect((await protect({ moref: 'vm-999' })).body['code']).toBe('vm_not_found');
    for (const neither of [{}, { vm_name: 'a', moref: 'b' }])
      expect((await protect(neither)).body['detail']).toBe('give either vm_name or moref');

    const strange = await protect({ vm_name: odd });
    expect(strange.body['vm_name']).toBe(odd);
    expect(strange.body['context_id']).toMatch(/^ctx-[A-Za-z0-9._-]+$/);

    const again = (await hub.get(`/api/v1/vcenters/${id}/vms`)).body['vms'] as Record<string, unknown>[];
    expect(again[0]!['context_id']).toBe(contextId);
    expect((await hub.get('/api/v1/vms?name=pgtest1')).body['vms']).toHaveLength(1);
    const page = await hub.get('/api/v1/vms?limit=2');
    expect(page.body['vms']).toHaveLength(2);
    expect(page.body['next_cursor']).toEqual(expect.any(String));
    expect((await hub.delete(`/api/v1/vms/${String(strange.body['context_id'])}`)).status).toBe(204);
    expect((await hub.get(`/api/v1/vms/${String(strange.body['context_id'])}`)).status).toBe(404);
  });

  it('change their password, user or certificate after a login that worked, and never before', async () => {
    const [first] = (await hub.get('/api/v1/vcenters')).body['vcenters'] as Record<string, unknown>[];
    const path = `/api/v1/vcenters/${String(first!['vcenter_id'])}`;
    const patch = (body: Record<string, unknown>) => hub.call('PATCH', path, { body });
    const stored = async () => {
      await hub.post(`${path}/check`);
      return node.asked.at(-1);
    };
    const before = await stored();

    for (const [change, status, code] of [
      [{ password: 'a wrong one' }, 422, 'vcenter_login_failed'],
      [{ thumbprint: '00'.repeat(32), username: 'x' }, 409, 'vcenter_thumbprint_mismatch'],
      [{}, 400, 'invalid_argument'],
      [{ endpoint: 'another.example.org' }, 400, 'invalid_argument'],
      [{ password: '' }, 400, 'invalid_argument'],
    ] as const) {
      const answer = await patch(change);
      expect([answer.status, answer.body['code']]).toEqual([status, code]);
      expect(answer.text).not.toContain('a wrong one');
      expect(await stored()).toEqual(before);
    }
    expect((await hub.call('PATCH', '/api/v1/vcenters/none', { body: { username: 'x' } })).status).toBe(404);

    node.password = 'changed in vCenter';
    expect((await hub.post(`${path}/check`)).body['code']).toBe('vcenter_login_failed');
    const changed = await patch({ password: node.password, username: 'new@vsphere.local' });
    expect([changed.status, changed.body['username']]).toEqual([200, 'new@vsphere.local']);
    expect(changed.text).not.toContain(node.password);
    expect(await stored()).toEqual({ ...before, username: 'new@vsphere.local', password: node.password });
    node.password = PASSWORD;
    expect((await patch({ password: PASSWORD })).status).toBe(200);
    expect(await stored()).toEqual({ ...before, username: 'new@vsphere.local' });

    const { body } = await hub.get('/api/v1/audit-events?action=vcenter.update');
    const events = body['audit_events'] as { outcome: string; subject_id: string }[];
    expect(events.filter(({ outcome }) => outcome === 'ok')).toHaveLength(2);
    expect(events.filter(({ outcome }) => outcome === 'failed').length).toBeGreaterThanOrEqual(5);
    expect(JSON.stringify(events)).not.toMatch(/a wrong one|changed in vCenter/);
  });

  it.each([
    [{ enabled: true, outcome: 'enabled_now' }, 'enabled', 'Sendense enabled it'],
    [{ enabled: false, outcome: 'snapshots_exist' }, 'unavailable', 'carries a snapshot'],
    [{ enabled: false, outcome: 'not_supported' }, 'unavailable', 'version 7'],
    [
      new SendenseError('snapshot_create_failed', 'the datastore is full'),
      'unknown',
      'the datastore is full',
    ],
    [new SendenseError('node_lost', 'it went away'), 'unknown', 'it went away'],
  ])('are protected whatever becomes of changed block tracking: %j', async (answer, state, words) => {
    const name = `tracked-${words.length}-${state}`;
    node.vms = [testVm(name, `vm-1${words.length}`)];
    node.changeTracking = answer;
    const [first] = (await hub.get('/api/v1/vcenters')).body['vcenters'] as Record<string, unknown>[];
    const { status, body } = await hub.post('/api/v1/vms', {
      vcenter_id: first!['vcenter_id'],
      vm_name: name,
    });
    expect(status).toBe(201);
    expect(body['change_tracking']).toEqual({ state, detail: expect.stringContaining(words) });
    const shown = await hub.get(`/api/v1/vms/${String(body['context_id'])}`);
    expect(shown.body['change_tracking']).toEqual(body['change_tracking']);
  });

  it('say which node is offline', async () => {
    await node.hangUp();
    const [first] = (await hub.get('/api/v1/vcenters')).body['vcenters'] as Record<string, unknown>[];
    const { status, body } = await hub.get(`/api/v1/vcenters/${String(first!['vcenter_id'])}/vms`);
    expect([status, body['code'], body['retryable']]).toEqual([503, 'node_offline', true]);
    expect(body['detail']).toContain('site-1');
    await node.dial();
  });

  it('never show a password', async () => {
    const paths = [
      '/api/v1/vcenters',
      '/api/v1/audit-events?limit=250',
      '/api/v1/vms',
      '/health',
      '/metrics',
      '/api/v1/system',
    ];
    for (const path of paths) expect((await hub.get(path)).text).not.toContain(PASSWORD);
  });
});

describe('a node that takes calls and never answers', () => {
  it('is named with the call and its limit, whatever was asked', async () => {
    await using hanging = await TestHub.start({ parts: { nodeLimits: { vcenter: 300 } } });
    await using silent = await TestNode.connect(hanging);
    silent.silent = true;
    const { name, endpoint, username, password, thumbprint } = vcenter();
    const { id } = await hanging.hub.context.catalog.vcenters.create({
      ...{ name, nodeName: silent.name, endpoint, username, password, thumbprint },
    });
    const path = `/api/v1/vcenters/${id}`;
    const asked = {
      CheckVCenter: [
        await hanging.post('/api/v1/vcenters', vcenter({ name: 'second' })),
        await hanging.call('PATCH', path, { body: { username: 'x' } }),
        await hanging.post(`${path}/check`),
      ],
      ListVirtualMachines: [
        await hanging.get(`${path}/vms`),
        await hanging.post('/api/v1/vms', { vcenter_id: id, vm_name: 'pgtest1' }),
      ],
    };
    for (const [call, answers] of Object.entries(asked))
      for (const { status, body } of answers) {
        expect([status, body['code'], body['retryable']]).toEqual([504, 'timeout', true]);
        expect(body['detail']).toMatch(`${call} on node site-1: no answer within 0.3 s. Look at the log`);
        expect(body['detail']).toContain('whether its vCenter answers');
      }
  });
});
