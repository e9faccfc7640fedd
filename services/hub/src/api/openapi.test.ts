import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Validator } from '@seriousme/openapi-schema-validator';
import fc from 'fast-check';
import { TestHub } from '../testing/test-hub.js';

interface Operation {
  readonly summary?: string;
  readonly security?: unknown[];
  readonly requestBody?: unknown;
  readonly responses: Record<string, { description?: string; content?: Record<string, unknown> }>;
}

let hub: TestHub;
let document: { openapi: string; paths: Record<string, Record<string, Operation>> };
beforeAll(async () => {
  hub = await TestHub.start();
  document = (await hub.get('/openapi.json', { token: undefined })).body as unknown as typeof document;
});
afterAll(() => hub[Symbol.asyncDispose]());

const operations = () =>
  Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ path, method: method.toUpperCase(), operation })),
  );

const ROUTES = [
  'GET /health',
  'GET /metrics',
  'GET /api/v1/system',
  'GET /api/v1/repositories',
  'POST /api/v1/repositories',
  'GET /api/v1/repositories/{id}',
  'DELETE /api/v1/repositories/{id}',
  'GET /api/v1/nodes',
  'POST /api/v1/nodes',
  'POST /api/v1/nodes/{name}/token',
  'GET /api/v1/nodes/{name}',
  'DELETE /api/v1/nodes/{name}',
  'GET /api/v1/vcenters',
  'POST /api/v1/vcenters',
  'GET /api/v1/vcenters/{id}',
  'PATCH /api/v1/vcenters/{id}',
  'DELETE /api/v1/vcenters/{id}',
  'POST /api/v1/vcenters/{id}/check',
  'GET /api/v1/vcenters/{id}/vms',
  'GET /api/v1/vms',
  'POST /api/v1/vms',
  'GET /api/v1/vms/{context_id}',
  'DELETE /api/v1/vms/{context_id}',
  'GET /api/v1/backups',
  'POST /api/v1/backups',
  'GET /api/v1/backups/{id}',
  'POST /api/v1/backups/{id}/cancel',
  'GET /api/v1/backups/{id}/events',
  'GET /api/v1/restore-points',
  'GET /api/v1/restore-points/{id}',
  'DELETE /api/v1/restore-points/{id}',
  'PUT /api/v1/restore-points/{id}/hold',
  'DELETE /api/v1/restore-points/{id}/hold',
  'GET /api/v1/tasks',
  'GET /api/v1/tasks/{id}',
  'POST /api/v1/tasks/{id}/cancel',
  'POST /api/v1/restore-points/{id}/verify',
  'POST /api/v1/restore-points/{id}/export',
  'POST /api/v1/repositories/{id}/rescan',
  'GET /api/v1/repositories/{id}/retention',
  'PUT /api/v1/repositories/{id}/retention',
  'DELETE /api/v1/repositories/{id}/retention',
  'GET /api/v1/vms/{context_id}/retention',
  'PUT /api/v1/vms/{context_id}/retention',
  'DELETE /api/v1/vms/{context_id}/retention',
  'GET /api/v1/vms/{context_id}/retention/preview',
  'POST /api/v1/vms/{context_id}/retention/apply',
  'GET /api/v1/audit-events',
];

describe('the OpenAPI document', () => {
  it('is valid', async () => {
    const result = await new Validator().validate(structuredClone(document) as never);
    expect(result).toEqual({ valid: true });
    expect(document.openapi).toBe('3.1.0');
  });

  it('has every route, each with a summary, its answers and what it asks for', () => {
    expect(
      operations()
        .map(({ path, method }) => `${method} ${path}`)
        .toSorted(),
    ).toEqual(ROUTES.toSorted());
    for (const { path, operation } of operations()) {
      expect(operation.summary).toEqual(expect.any(String));
      expect(operation.security).toEqual(path === '/health' ? [] : [{ token: [] }]);
      expect(Object.keys(operation.responses).length).toBeGreaterThan(1);
      expect(operation.responses['default']?.content).toHaveProperty(['application/problem+json']);
    }
  });

  it('has an example of every route in docs/api.md, and no other', () => {
    const page = readFileSync(new URL('../../../../../docs/api.md', import.meta.url), 'utf8');
    const headings = [...page.matchAll(/^### `(.*)`$/gm)].map(([, heading]) => String(heading));
    expect(headings.toSorted()).toEqual(ROUTES.toSorted());
  });

  it('describes the answers that are really given', async () => {
    await hub.addRepository();
    const { body } = await hub.get('/api/v1/repositories');
    const schema = JSON.stringify(document.paths['/api/v1/repositories']!['get']!.responses['200']!.content);
    for (const field of Object.keys((body['repositories'] as object[])[0]!))
      expect(schema).toContain(`"${field}"`);
  });
});

const garbage = fc.oneof(
  fc.json(),
  fc.string({ unit: 'binary', maxLength: 200 }),
  fc.constantFrom(
    '',
    'null',
    '[]',
    '"x"',
    '{"__proto__":{"x":1}}',
    '{"a":1,"a":2}',
    '['.repeat(2_000),
    '{"name":',
  ),
  fc
    .dictionary(
      fc.constantFrom(
        'name',
        'type',
        'path',
        'vm_name',
        'context_id',
        'repository_id',
        'backup_type',
        'moref',
        'vcenter_id',
        'node_name',
        'endpoint',
        'username',
        'password',
        'thumbprint',
        'reason',
        'dry_run',
        'x',
      ),
      fc.oneof(
        fc.jsonValue(),
        fc.string({ unit: 'binary' }),
        fc.constantFrom('local', 'full', 'site-1', '/tmp', 'a'),
      ),
    )
    .map((value) => JSON.stringify(value)),
);

const element = fc.oneof(
  fc
    .string({ unit: 'binary', maxLength: 50 })
    .map((value) => encodeURIComponent(value.toWellFormed()) || 'x'),
  fc.constantFrom('%00', '%ff', '..%2f..%2fetc', '%2e%2e', 'a'.repeat(9_000), '0', 'null', '%F0%9F%99%82'),
);

const query = fc
  .array(
    fc.tuple(
      fc.constantFrom('limit', 'cursor', 'state', 'vm_name', 'since', 'action', 'name', 'x', '__proto__'),
      fc.oneof(
        fc.string({ unit: 'binary' }).map((value) => value.toWellFormed()),
        fc.constantFrom('0', '-1', '1e9', 'NaN', '2026-01-01T00:00:00Z'),
      ),
    ),
    { maxLength: 4 },
  )
  .map((pairs) => (pairs.length === 0 ? '' : `?${new URLSearchParams(pairs).toString()}`));

describe('whatever is sent', () => {
  it('is answered with a problem and never with an internal error', async () => {
    for (const { path, method, operation } of operations()) {
      const body = operation.requestBody === undefined ? fc.constant(undefined) : garbage;
      await fc.assert(
        fc.asyncProperty(body, element, query, async (rawBody, id, search) => {
          const target = path.replace(/\{\w+\}/, id) + search;
          const answer = await hub.call(method, target, rawBody === undefined ? {} : { rawBody });
          if (answer.status >= 500) throw new Error(`${answer.status} ${method} ${target}: ${answer.text}`);
          if (answer.status < 400) return;
          expect(answer.headers.get('content-type')).toBe('application/problem+json; charset=utf-8');
          expect(answer.body).toMatchObject({
            status: answer.status,
            code: expect.any(String),
            detail: expect.any(String),
          });
        }),
        { numRuns: 25 },
      );
    }
  });

  it.each([
    ['too large a body', { rawBody: JSON.stringify({ name: 'x'.repeat(70_000) }) }, 413, 'at most 64 KiB'],
    ['another type', { rawBody: 'name=x', headers: { 'content-type': 'text/plain' } }, 415, 'must be JSON'],
    ['broken JSON', { rawBody: '{"name":' }, 400, 'JSON'],
    ['no body', {}, 400, 'the body must be an object'],
  ])('is refused with words: %s', async (_what, options, status, detail) => {
    const answer = await hub.call('POST', '/api/v1/repositories', options);
    expect(answer.status).toBe(status);
    expect(answer.body).toMatchObject({
      status,
      code: 'invalid_argument',
      detail: expect.stringContaining(detail),
    });
  });

  it('may be nothing where nothing is needed, however it is announced', async () => {
    await hub.post('/api/v1/nodes', { name: 'n' });
    const headers = { 'content-type': 'application/json' };
    for (const options of [{}, { headers }, { rawBody: '{}' }, { rawBody: 'null' }])
      expect((await hub.call('POST', '/api/v1/nodes/n/token', options)).status).toBe(201);
    expect((await hub.call('POST', '/api/v1/nodes/n/token', { body: { x: 1 } })).body['detail']).toContain(
      'x',
    );
    expect((await hub.call('DELETE', '/api/v1/nodes/n', { headers })).status).toBe(204);
  });

  it('is not found where nothing is', async () => {
    const answer = await hub.get('/api/v1/nothing?x=1', { token: undefined });
    expect(answer.status).toBe(404);
    expect(answer.body).toMatchObject({
      code: 'not_found',
      detail: expect.stringContaining('GET /api/v1/nothing:'),
    });
    expect((await hub.call('PUT', '/api/v1/nodes')).status).toBe(404);
  });
});
