import { existsSync, mkdirSync, mkdtempSync, renameSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { MARKER_FILE } from '../repositories/marker.js';
import { TestHub } from '../testing/test-hub.js';

let hub: TestHub;
beforeAll(async () => {
  hub = await TestHub.start();
});
afterAll(() => hub[Symbol.asyncDispose]());

const add = (name: string, path: string) => hub.post('/api/v1/repositories', { name, type: 'local', path });
const directory = () => mkdtempSync(join(hub.folder, 'r-'));

describe('repositories', () => {
  it('are added, listed with their space, shown and removed', async () => {
    const path = directory();
    const added = await add('first', path);
    expect(added.status).toBe(201);
    const id = String(added.body['repository_id']);
    expect(id).toMatch(/^repo-local-\d+(-\d+)?$/);
    expect(added.headers.get('location')).toBe(`/api/v1/repositories/${id}`);
    expect(added.body).toMatchObject({
      name: 'first',
      type: 'local',
      path,
      status: 'available',
      status_reason: null,
      backup_count: 0,
      total_bytes: expect.any(Number),
      used_bytes: expect.any(Number),
      available_bytes: expect.any(Number),
    });
    const list = await hub.get('/api/v1/repositories');
    expect(list.body['repositories']).toHaveLength(1);
    expect((await hub.get(`/api/v1/repositories/${id}`)).body).toMatchObject({ repository_id: id });
    expect((await hub.delete(`/api/v1/repositories/${id}`)).status).toBe(204);
    expect(existsSync(path)).toBe(true);
    expect(existsSync(join(path, MARKER_FILE))).toBe(false);
    const gone = await hub.get(`/api/v1/repositories/${id}`);
    expect([gone.status, gone.body['code']]).toEqual([404, 'repository_not_found']);
  });

  it.each([
    ['a relative path', 'relative', 400, 'invalid_argument'],
    ['a missing directory', '/nowhere/at all', 409, 'repository_missing'],
    ['a file', '/etc/passwd', 409, 'repository_missing'],
    ['a path under a file', '/etc/passwd/x', 409, 'repository_missing'],
    ['a file system that cannot be written to', '/proc', 409, undefined],
  ])('refuse %s', async (_what, path, status, code) => {
    const { status: got, body } = await add('refused', path);
    expect(got).toBe(status);
    if (code) expect(body['code']).toBe(code);
    expect(body['detail']).toContain(path);
    expect((await hub.get('/api/v1/repositories')).text).not.toContain('refused');
  });

  it('overlap neither each other nor what the hub uses itself', async () => {
    const path = directory();
    const { body } = await add('outer', path);
    mkdirSync(join(path, 'inner'));
    symlinkSync(path, join(hub.folder, 'alias'));
    for (const other of [path, join(path, 'inner'), join(hub.folder, 'alias'), hub.folder]) {
      const answer = await add('other', other);
      expect([answer.status, answer.body['code']]).toEqual([409, 'conflict']);
    }
    mkdirSync(join(hub.folder, 'data', 'r'));
    expect((await add('own', join(hub.folder, 'data', 'r'))).body['detail']).toContain('the hub itself uses');
    const sibling = `${path}-2`;
    mkdirSync(sibling);
    expect((await add('sibling', sibling)).status).toBe(201);
    expect((await add('outer', directory())).body['code']).toBe('already_exists');
    await hub.delete(`/api/v1/repositories/${String(body['repository_id'])}`);
  });

  it('leave nothing behind when the directory belongs to another hub', async () => {
    const path = directory();
    writeFileSync(join(path, MARKER_FILE), '{"repository_id":"repo-local-9","hub_id":"SHA256:other"}');
    const { status, body } = await add('foreign', path);
    expect([status, body['code']]).toEqual([409, 'repository_in_use']);
    expect(body['detail']).toContain(MARKER_FILE);
    expect((await hub.get('/api/v1/repositories')).text).not.toContain('foreign');
  });

  it('that break do not touch the others, and recover without a restart', async () => {
    const { id: good } = await hub.addRepository('good');
    const { id, path } = await hub.addRepository('breaking');
    renameSync(path, `${path}.away`);
    mkdirSync(path); // an empty mount point
    const list = (await hub.get('/api/v1/repositories')).body['repositories'] as Record<string, unknown>[];
    expect(list.find((repository) => repository['repository_id'] === good)).toMatchObject({
      status: 'available',
    });
    expect(list.find((repository) => repository['repository_id'] === id)).toMatchObject({
      status: 'unavailable',
      status_code: 'repository_missing',
      status_reason: expect.stringContaining('not mounted'),
      total_bytes: null,
    });
    const health = await hub.get('/health', { token: undefined });
    expect(health.status).toBe(200);
    expect(health.body).toMatchObject({
      status: 'degraded',
      dependencies: { repositories: { status: 'degraded', detail: expect.stringContaining(id) } },
    });
    renameSync(path, `${path}.empty`);
    renameSync(`${path}.away`, path);
    expect((await hub.get(`/api/v1/repositories/${id}`)).body).toMatchObject({ status: 'available' });
    expect((await hub.get('/health')).body).toMatchObject({
      dependencies: { repositories: { status: 'ok' } },
    });
  });

  it.each([
    'a b/c',
    `it's "quoted"`,
    '../../etc/passwd',
    'line\nbreak\ttab\r\u001b[31m',
    '🙂🇩🇪👨‍👩‍👧',
    'é vs é',
    '<script>alert(1)</script>',
    "'; DROP TABLE repositories; --",
    'x'.repeat(300),
    '🙂'.repeat(300),
    ' leading and trailing ',
    '‮txt.exe',
  ])('keep the name %j as it is', async (name) => {
    const added = await add(name, directory());
    expect(added.status).toBe(201);
    const id = String(added.body['repository_id']);
    expect(id).toMatch(/^repo-local-\d+(-\d+)?$/);
    expect((await hub.get(`/api/v1/repositories/${id}`)).body['name']).toBe(name);
    await hub.delete(`/api/v1/repositories/${id}`);
  });
});
