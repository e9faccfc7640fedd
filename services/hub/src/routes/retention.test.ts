import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { eventually } from '@sendense/runtime/testing';
import { TestHub } from '../testing/test-hub.js';

let hub: TestHub;
let repository: { id: string; path: string };
beforeAll(async () => {
  hub = await TestHub.start();
  repository = await hub.addRepository();
});
afterAll(() => hub[Symbol.asyncDispose]());

describe('retention', () => {
  it('of a repository is set, shown, replaced and removed', async () => {
    const path = `/api/v1/repositories/${repository.id}/retention`;
    const put = (body: object) => hub.call('PUT', path, { body });
    expect((await hub.get(path)).body).toEqual({ policy: null });
    const policy = { keep_last: 2, daily: 7, weekly: 0, monthly: 0, yearly: 0, time_zone: 'Europe/Berlin' };
    expect(await put({ keep_last: 2, daily: 7, time_zone: 'Europe/Berlin' })).toMatchObject({
      ...{ status: 200, body: { policy } },
    });
    expect((await put({ weekly: 4 })).body['policy']).toMatchObject({ daily: 0, weekly: 4, time_zone: null });
    for (const wrong of [
      {},
      { daily: -1 },
      { daily: 1.5 },
      { daily: 1, time_zone: 'Mars/Base' },
      { hourly: 1 },
    ])
      expect((await put(wrong)).body['code']).toBe('invalid_argument');
    expect((await hub.delete(path)).status).toBe(204);
    expect((await hub.get(path)).body).toEqual({ policy: null });
  });

  it('is for admins to change', async () => {
    const path = `/api/v1/repositories/${repository.id}/retention`;
    const answer = await hub.call('PUT', path, { body: { daily: 1 }, token: hub.tokens.operator });
    expect(answer.status).toBe(403);
    expect((await hub.get(path, { token: hub.tokens.viewer })).status).toBe(200);
  });

  it('of what does not exist is not found', async () => {
    for (const path of ['/api/v1/vms/ctx-x/retention', '/api/v1/repositories/repo-x/retention'])
      for (const method of ['GET', 'PUT', 'DELETE'])
        expect((await hub.call(method, path, method === 'PUT' ? { body: { daily: 1 } } : {})).status).toBe(
          404,
        );
    const query = `?repository_id=${repository.id}`;
    expect((await hub.get(`/api/v1/vms/ctx-x/retention/preview${query}`)).body['code']).toBe(
      'vm_not_protected',
    );
  });
});

describe('verification and rescan', () => {
  it('are refused for what does not exist', async () => {
    expect((await hub.post('/api/v1/restore-points/x/verify')).status).toBe(404);
    expect((await hub.post('/api/v1/repositories/x/rescan')).status).toBe(404);
  });

  it('a rescan is a task that ends with what it found', async () => {
    const { status, body, headers } = await hub.post(`/api/v1/repositories/${repository.id}/rescan`);
    expect([status, body['kind']]).toEqual([202, 'rescan']);
    const ended = await eventually('the rescan has ended', async () => {
      const task = (await hub.get(String(headers.get('location')))).body;
      return task['state'] === 'completed' ? task : undefined;
    });
    expect(ended['result']).toMatchObject({ points_added: [], strangers: [], counts: { damaged: 0 } });
  });
});
