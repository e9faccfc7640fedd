import { existsSync, rmSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { silentLogger } from '@sendense/runtime';
import { eventually } from '@sendense/runtime/testing';
import { enrol, generateEd25519Key } from '@sendense/tunnel';
import { TestHub } from '../testing/test-hub.js';
import { TestNode } from '../testing/test-node.js';

let hub: TestHub;
beforeAll(async () => {
  hub = await TestHub.start();
});
afterAll(() => hub[Symbol.asyncDispose]());

const audited = async (action: string) => {
  const { body } = await hub.get(`/api/v1/audit-events?action=${action}`);
  return body['audit_events'] as Record<string, unknown>[];
};

describe('nodes', () => {
  it('wait for their token, come online with their checks, go offline, and are revoked for ever', async () => {
    const made = await hub.post('/api/v1/nodes', { name: 'life' });
    expect(made.status).toBe(201);
    expect(made.headers.get('location')).toBe('/api/v1/nodes/life');
    expect(made.body).toEqual({
      name: 'life',
      enrolment_token: expect.stringMatching(/^sdn1\./),
      expires_at: expect.any(String),
    });
    const lifetimeMs = Date.parse(String(made.body['expires_at'])) - Date.now();
    expect(lifetimeMs).toBeGreaterThan(59 * 60_000);
    expect(lifetimeMs).toBeLessThanOrEqual(60 * 60_000);
    expect((await hub.get('/api/v1/nodes/life')).body).toMatchObject({
      ...{ state: 'pending', version: null, grpc_socket: null },
    });
    expect((await hub.post('/api/v1/nodes', { name: 'life' })).body['code']).toBe('already_exists');

    // A newer token voids the older one.
    const newer = await hub.post('/api/v1/nodes/life/token');
    await hub.delete('/api/v1/nodes/life'); // pending: forgotten
    expect((await hub.get('/api/v1/nodes/life')).body['code']).toBe('node_not_found');
    expect(newer.status).toBe(201);

    await using node = await TestNode.connect(hub, 'life');
    const online = (await hub.get('/api/v1/nodes/life')).body;
    expect(online).toMatchObject({
      state: 'online',
      version: '9.9.9',
      commit: 'abc',
      checks: [{ name: 'nbdkit', ok: false, detail: 'install it' }],
      last_seen_at: expect.any(String),
    });
    expect(existsSync(String(online['grpc_socket']))).toBe(true);
    expect(online['grpc_socket']).toBe(online['socket_path']);
    expect(hub.runs.connected).toContain('life');
    expect((await hub.get('/health')).body).toMatchObject({ dependencies: { nodes: { status: 'ok' } } });

    await node.hangUp();
    expect((await hub.get('/api/v1/nodes/life')).body).toMatchObject({ state: 'offline', grpc_socket: null });
    const health = (await hub.get('/health')).body;
    expect(health).toMatchObject({
      status: 'degraded',
      dependencies: { nodes: { detail: expect.stringContaining('life') } },
    });

    await node.dial();
    expect((await hub.delete('/api/v1/nodes/life')).status).toBe(204);
    await eventually('it is cut off', () => !hub.hub.context.tunnel.isConnected('life'));
    expect(await node.state()).toBe('revoked');
    await eventually('its key is refused', async () =>
      (await audited('tunnel.refused')).some(({ detail }) =>
        JSON.stringify(detail).includes('node life was revoked'),
      ),
    );
    for (const action of ['node.add', 'node.enrol', 'node.connected', 'node.disconnected', 'node.revoke'])
      expect(await audited(action)).toContainEqual(expect.objectContaining({ subject_id: 'life' }));
    expect((await hub.delete('/api/v1/nodes/life')).status).toBe(204); // revoked: forgotten
    expect((await hub.get('/api/v1/nodes/life')).status).toBe(404);
  });

  it('are enrolled once by the newest token, with a key of their own', async () => {
    const tokenOf = async (path: string, body?: object) =>
      String((await hub.post(path, body)).body['enrolment_token']);
    const enrolWith = (token: string, { privateKeyPem } = generateEd25519Key()) =>
      enrol({ hub: hub.hub.tunnelAddress, token, privateKeyPem, log: silentLogger });
    const older = await tokenOf('/api/v1/nodes', { name: 'once' });
    const newer = await tokenOf('/api/v1/nodes/once/token');
    const key = generateEd25519Key();
    const refused = (message: string) => ({
      code: 'enrolment_refused',
      message: expect.stringContaining(message) as unknown,
    });
    await expect(enrolWith(older)).rejects.toMatchObject(refused('sendense node token'));
    expect(await enrolWith(newer, key)).toMatchObject({ nodeName: 'once' });
    await expect(enrolWith(newer)).rejects.toMatchObject(refused('was used already'));
    const other = await tokenOf('/api/v1/nodes', { name: 'other' });
    await expect(enrolWith(other, key)).rejects.toMatchObject(refused('another node has this key'));
    await eventually('the refusals are in the audit trail', async () =>
      (await audited('tunnel.refused')).some(({ detail }) => JSON.stringify(detail).includes('enrolment')),
    );
  });

  it('refuse a name whose socket would not fit below the runtime directory', async () => {
    const settings = { SENDENSE_RUNTIME_DIR: `/tmp/${'r'.repeat(70)}` };
    await using other = await TestHub.start({ settings });
    try {
      const { status, body } = await other.post('/api/v1/nodes', { name: 'n'.repeat(30) });
      expect([status, body['detail']]).toEqual([
        400,
        expect.stringMatching(/at most 20 characters.*RUNTIME_DIR/),
      ]);
      expect((await other.post('/api/v1/nodes', { name: 'n'.repeat(20) })).status).toBe(201);
    } finally {
      rmSync(settings.SENDENSE_RUNTIME_DIR, { recursive: true, force: true });
    }
  });

  it.each(['', 'Upper', 'a_b', '-a', 'a-', 'a/b', '..', 'ä', 'x'.repeat(64), 5, null])(
    'refuse the name %j',
    async (name) => {
      const { status, body } = await hub.post('/api/v1/nodes', { name });
      expect([status, body['code']]).toEqual([400, 'invalid_argument']);
      expect(body['detail']).toMatch(/^name /);
    },
  );
});
