import { describe, expect, it } from '@jest/globals';
import { FakeHub } from './fake-hub.js';

const POINT = 'backup-pg-1';
const EXPORT = `POST /api/v1/restore-points/${POINT}/export`;
const TASK = 'GET /api/v1/tasks/task-1';

const task = (state: string, more: object = {}) => ({
  body: {
    ...{ task_id: 'task-1', kind: 'export', state, subject_type: 'restore_point', subject_id: POINT },
    ...{ requested_by: 'token:1', created_at: '2026-11-21T08:43:16.000Z', started_at: null, ended_at: null },
    ...{ queue_position: null, waiting_for: null, bytes_done: null, bytes_total: null },
    ...{ error: null, result: null, ...more },
  },
});
const done = task('completed', {
  result: {
    path: '/srv/exports/monday',
    format: 'qcow2',
    disks: [{ disk_key: 2000, file: 'pg-disk0.qcow2', capacity_bytes: 1024, stored_bytes: 512 }],
  },
});

describe('restore-point export', () => {
  it('asks for the disks that are named, stays until it ends and says where they are', async () => {
    await using hub = await FakeHub.start();
    hub.answers(EXPORT, { status: 202, ...task('queued') });
    hub.answers(TASK, done);
    const args = ['restore-point', 'export', POINT, '--to', 'monday', '--format', 'qcow2'];
    const { exitCode, out } = await hub.run([...args, '--disk', '2000', '2001', '--accept-suspect']);
    expect(exitCode).toBe(0);
    const body = { to: 'monday', format: 'qcow2', disk_keys: [2000, 2001], accept_suspect: true };
    expect(hub.asked[0]).toEqual({ what: EXPORT, body });
    expect(out).toContain('path: /srv/exports/monday');
    expect(out).toContain('file: pg-disk0.qcow2');
  });

  it('asks for all disks, raw', async () => {
    await using hub = await FakeHub.start();
    hub.answers(EXPORT, { status: 202, ...task('queued') });
    expect(
      await hub.run(['restore-point', 'export', POINT, '--all', '--to', 'x', '--no-wait']),
    ).toMatchObject({ exitCode: 0 });
    expect(hub.asked[0]).toEqual({ what: EXPORT, body: { to: 'x', format: 'raw' } });
  });

  it.each([
    ['no disks', ['--to', 'x']],
    ['all and some disks', ['--to', 'x', '--all', '--disk', '2000']],
    ['no place', ['--all']],
    ['a format that nobody knows', ['--to', 'x', '--all', '--format', 'vdi']],
    ['a disk that is no number', ['--to', 'x', '--disk', 'first']],
  ])('is wrong usage with %s', async (_, args) => {
    await using hub = await FakeHub.start();
    expect(await hub.run(['restore-point', 'export', POINT, ...args])).toMatchObject({ exitCode: 2 });
    expect(hub.asked).toEqual([]);
  });
});
