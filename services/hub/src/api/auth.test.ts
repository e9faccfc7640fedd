import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { TestHub } from '../testing/test-hub.js';

let hub: TestHub;
beforeAll(async () => {
  hub = await TestHub.start();
});
afterAll(() => hub[Symbol.asyncDispose]());

const problemType = 'application/problem+json; charset=utf-8';

describe('tokens', () => {
  it('are asked for on every route but the open ones', async () => {
    for (const path of ['/health', '/openapi.json'])
      expect((await hub.get(path, { token: undefined })).status).toBe(200);
    for (const path of ['/metrics', '/api/v1/repositories', '/api/v1/system', '/api/v1/audit-events']) {
      const { status, headers, body } = await hub.get(path, { token: undefined });
      expect(status).toBe(401);
      expect(headers.get('content-type')).toBe(problemType);
      expect(headers.get('www-authenticate')).toBe('Bearer realm="sendense"');
      expect(body).toEqual({
        type: 'urn:sendense:problem:unauthenticated',
        title: 'unauthenticated',
        status: 401,
        detail: expect.stringContaining('sendense-hub token create'),
        code: 'unauthenticated',
        context: {},
        retryable: false,
      });
    }
  });

  it.each([
    'Basic YTpi',
    'Bearer',
    'Bearer  ',
    'Bearer a b',
    `Bearer ${'x'.repeat(5000)}`,
    'Bearer sdt_wrong',
  ])('that are none are refused: %s', async (authorization) => {
    const { status, body } = await hub.get('/api/v1/repositories', {
      token: undefined,
      headers: { authorization },
    });
    expect([status, body['code']]).toEqual([401, 'unauthenticated']);
  });

  it('are refused from the moment they are revoked', async () => {
    const { tokens } = hub.hub.context.catalog;
    const { token, record } = await tokens.create({ name: 'short-lived', role: 'viewer' });
    expect((await hub.get('/api/v1/repositories', { token })).status).toBe(200);
    await tokens.revoke(record.id);
    expect((await hub.get('/api/v1/repositories', { token })).status).toBe(401);
  });
});

describe('roles', () => {
  it.each([
    ['GET', '/api/v1/backups', 'viewer'],
    ['GET', '/metrics', 'viewer'],
    ['POST', '/api/v1/backups', 'operator'],
    ['POST', '/api/v1/vms', 'operator'],
    ['POST', '/api/v1/repositories', 'admin'],
    ['POST', '/api/v1/nodes', 'admin'],
    ['POST', '/api/v1/vcenters', 'admin'],
    ['PATCH', '/api/v1/vcenters/v', 'admin'],
    ['DELETE', '/api/v1/nodes/n', 'admin'],
    ['GET', '/api/v1/audit-events', 'admin'],
  ] as const)('%s %s needs %s', async (method, path, needed) => {
    const rank = { viewer: 1, operator: 2, admin: 3 };
    for (const role of ['viewer', 'operator', 'admin'] as const) {
      const { status, body } = await hub.call(method, path, {
        token: hub.tokens[role],
        ...(method === 'POST' ? { body: {} } : {}),
      });
      if (rank[role] >= rank[needed]) {
        expect([401, 403]).not.toContain(status);
        continue;
      }
      expect(status).toBe(403);
      expect(body).toMatchObject({ code: 'permission_denied', context: { role, needed } });
      expect(body['detail']).toContain(`'the ${role}'`);
    }
  });
});

describe('the audit trail', () => {
  it('has every call that changes something, or was meant to, with the name of the token', async () => {
    const { path } = await hub.addRepository('audited');
    await hub.post('/api/v1/repositories', { name: 'x', type: 'local', path }, { token: hub.tokens.viewer });
    await hub.post('/api/v1/repositories', { name: 'x', type: 'tape', path });
    await hub.post('/api/v1/repositories', {}, { token: undefined });
    const { body } = await hub.get('/api/v1/audit-events?action=repository.add');
    const events = body['audit_events'] as Record<string, unknown>[];
    expect(events.slice(0, 4)).toMatchObject([
      { actor: 'anonymous', outcome: 'refused', detail: { status: 401, code: 'unauthenticated' } },
      { outcome: 'failed', detail: { status: 400, code: 'invalid_argument', token_name: 'the admin' } },
      { outcome: 'refused', detail: { status: 403, code: 'permission_denied', token_name: 'the viewer' } },
      {
        actor: expect.stringMatching(/^token:tok-/),
        outcome: 'ok',
        subject_type: 'repository',
        subject_id: expect.stringMatching(/^repo-local-\d+/),
        remote_address: '127.0.0.1',
        detail: { status: 201, token_name: 'the admin' },
      },
    ]);
  });

  it('is not filled from outside', async () => {
    for (let call = 0; call < 40; call++)
      await hub.post('/api/v1/nodes', { name: 'x' }, { token: undefined });
    const { body } = await hub.get('/api/v1/audit-events?action=node.add&actor=anonymous&limit=250');
    expect((body['audit_events'] as unknown[]).length).toBeLessThanOrEqual(30);
  });

  it('is paged, newest first', async () => {
    const first = await hub.get('/api/v1/audit-events?limit=2');
    expect(first.body['audit_events']).toHaveLength(2);
    const second = await hub.get(`/api/v1/audit-events?limit=2&cursor=${String(first.body['next_cursor'])}`);
    const ids = [first, second].flatMap(({ body }) =>
      (body['audit_events'] as { audit_event_id: number }[]).map(({ audit_event_id }) => audit_event_id),
    );
    expect(ids).toEqual(ids.toSorted((a, b) => b - a));
    expect(new Set(ids).size).toBe(4);
  });
});
