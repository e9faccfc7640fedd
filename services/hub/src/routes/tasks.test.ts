import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import type { RestorePointRecord } from '@sendense/catalog';
import { eventually } from '@sendense/runtime/testing';
import { TestHub } from '../testing/test-hub.js';

describe('removing restore points by the API', () => {
  let hub: TestHub;
  let point: RestorePointRecord;
  let repositoryId: string;

  beforeEach(async () => {
    hub = await TestHub.start();
    ({ id: repositoryId } = await hub.addRepository());
    point = await importPoint();
  });
  afterEach(() => hub[Symbol.asyncDispose]());

  const at = (path = '') => `/api/v1/restore-points/${point.id}${path}`;
  const ended = (taskId: unknown) =>
    eventually('the task has ended', async () => {
      const { body } = await hub.get(`/api/v1/tasks/${String(taskId)}`);
      return body['ended_at'] === null ? undefined : body;
    });

  it('is a task, which can be followed to its result', async () => {
    const answer = await hub.delete(at());
    expect(answer.status).toBe(202);
    expect(answer.body).toMatchObject({
      kind: 'remove',
      subject_type: 'restore_point',
      subject_id: point.id,
      state: expect.stringMatching(/queued|running/),
      error: null,
    });
    const id = answer.body['task_id'];
    expect(answer.headers.get('location')).toBe(`/api/v1/tasks/${String(id)}`);
    expect(await ended(id)).toMatchObject({
      state: 'completed',
      result: { restore_point_id: point.id, merged_into: [], bytes_merged: 0 },
    });
    expect((await hub.get(at())).status).toBe(404);
    expect((await hub.delete(at())).status).toBe(404);
    const { body } = await hub.get('/api/v1/tasks?kind=remove&state=completed');
    expect(body).toMatchObject({ tasks: [{ task_id: id }], next_cursor: null });
    expect((await hub.get('/metrics')).text).toContain('sendense_tasks{kind="remove",state="completed"} 1');
  });

  it('waits for a backup of the chain, and can be cancelled meanwhile; asked again it is the same task', async () => {
    const { contextId } = point;
    const holder = {
      contextId,
      repositoryId,
      mode: 'shared',
      purpose: 'backup',
      holderId: 'backup-9',
    } as const;
    await using _lock = await hub.hub.context.locks.acquire(holder);
    const { body } = await hub.delete(at());
    const id = String(body['task_id']);
    await eventually('it says so', async () => {
      const shown = (await hub.get(`/api/v1/tasks/${id}`)).body;
      return shown['waiting_for'] === 'backup backup-9' && shown['queue_position'] === 1;
    });
    expect((await hub.delete(at())).body['task_id']).toBe(id);
    const cancelled = await hub.post(`/api/v1/tasks/${id}/cancel`, { reason: 'not today' });
    expect(cancelled).toMatchObject({
      status: 202,
      body: { state: 'cancelled', cancel_reason: 'not today' },
    });
    expect((await hub.get(at())).body).toMatchObject({ state: 'sealed' });
  });

  it('is refused for a point that is held, until that is ended', async () => {
    const held = await hub.call('PUT', at('/hold'), { body: { reason: 'lawsuit' } });
    expect(held).toMatchObject({
      status: 200,
      body: { hold_reason: 'lawsuit', held_at: expect.any(String) },
    });
    const refused = await hub.delete(at());
    expect(refused).toMatchObject({
      status: 409,
      body: { code: 'restore_point_held', detail: expect.stringContaining('lawsuit') },
    });
    expect(await hub.delete(at('/hold'))).toMatchObject({
      status: 200,
      body: { held_at: null, hold_reason: null },
    });
    expect((await hub.delete(at())).status).toBe(202);
  });

  it('and ending a hold is for administrators, holding and cancelling for operators', async () => {
    const as = (role: 'operator' | 'viewer') => ({ token: hub.tokens[role] });
    expect((await hub.delete(at(), as('operator'))).status).toBe(403);
    expect((await hub.delete(at('/hold'), as('operator'))).status).toBe(403);
    const body = { reason: 'x' };
    expect((await hub.call('PUT', at('/hold'), { body, ...as('viewer') })).status).toBe(403);
    expect((await hub.call('PUT', at('/hold'), { body, ...as('operator') })).status).toBe(200);
    expect((await hub.post('/api/v1/tasks/task-x/cancel', undefined, as('viewer'))).status).toBe(403);
    expect((await hub.post('/api/v1/tasks/task-x/cancel', undefined, as('operator'))).status).toBe(404);
    expect((await hub.get('/api/v1/tasks', as('viewer'))).status).toBe(200);
  });

  it('is asked for in words that are checked', async () => {
    expect((await hub.call('PUT', at('/hold'), { body: { reason: '' } })).status).toBe(400);
    expect((await hub.get('/api/v1/tasks?subject_id=x')).body['detail']).toContain('together');
    expect((await hub.get('/api/v1/tasks?kind=paint')).status).toBe(400);
    expect((await hub.get('/api/v1/tasks/none')).body['code']).toBe('task_not_found');
  });

  /** A point that the catalogue knows; its files are not needed to remove it, because nothing stands on it. */
  async function importPoint(): Promise<RestorePointRecord> {
    const { catalog } = hub.hub.context;
    const id = 'backup-pgtest1-20261101-000000';
    const at = new Date('2026-11-01T00:00:00Z');
    await catalog.restorePoints.importPoint({
      ...{ id, contextId: 'ctx-pgtest1-1', repositoryId },
      vm: { name: 'pgtest1', instanceUuid: 'uuid-1', moref: 'vm-1', guestFullName: '' },
      ...{ takenAt: at, sealedAt: at, quiesced: false },
      manifestPath: `ctx-pgtest1-1/manifests/${id}.json`,
      disks: [
        {
          ...{ diskId: 'ctx-pgtest1-1-disk0', diskKey: 2000, diskNumber: 0, label: 'Hard disk 1' },
          ...{
            backingUuid: 'b',
            backingFile: '',
            capacityBytes: 65_536,
            backupType: 'full',
            reason: 'requested',
          },
          imagePath: 'ctx-pgtest1-1/disk-0/x.qcow2',
          hashesPath: 'ctx-pgtest1-1/disk-0/x.hashes',
          ...{ bytesRead: 0, storedBytes: 0 },
        },
      ],
    });
    return catalog.restorePoints.get(id);
  }
});
