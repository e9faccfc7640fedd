import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { SendenseError } from '@sendense/core';
import { eventually } from '@sendense/runtime/testing';
import { PASSWORD, TestNode, testVm, THUMBPRINT } from '../testing/test-node.js';
import { TestHub } from '../testing/test-hub.js';

let hub: TestHub;
let node: TestNode;
let repositoryId: string;
let vcenterId: string;

beforeAll(async () => {
  hub = await TestHub.start();
  node = await TestNode.connect(hub);
  repositoryId = (await hub.addRepository()).id;
  const { body } = await hub.post('/api/v1/vcenters', {
    ...{ name: 'main', node_name: 'site-1', endpoint: 'vc', username: 'u' },
    ...{ password: PASSWORD, thumbprint: THUMBPRINT },
  });
  vcenterId = String(body['vcenter_id']);
});
afterAll(async () => {
  await node[Symbol.asyncDispose]();
  await hub[Symbol.asyncDispose]();
});

let count = 0;
let name: string;
let contextId: string;
beforeEach(async () => {
  name = `pgtest${++count}`;
  node.vms = [testVm(name, `vm-${count}`, count === 1 ? 'independent' : '')];
  const { body } = await hub.post('/api/v1/vms', { vcenter_id: vcenterId, vm_name: name });
  contextId = String(body['context_id']);
});

const start = (change: Record<string, unknown> = {}) =>
  hub.post('/api/v1/backups', {
    vm_name: name,
    repository_id: repositoryId,
    backup_type: 'full',
    ...change,
  });

describe('backups', () => {
  it('start with the targets of every disk', async () => {
    const { status, headers, body } = await start({}); // its second disk is independent
    expect(status).toBe(202);
    const id = String(body['backup_id']);
    expect(id).toMatch(/^backup-pgtest1-\d{8}-\d{6}$/);
    expect(headers.get('location')).toBe(`/api/v1/backups/${id}`);
    expect(body).toMatchObject({
      context_id: contextId,
      vm_name: 'pgtest1',
      repository_id: repositoryId,
      backup_type: 'full',
      state: 'running',
      requested_by: expect.stringMatching(/^token:tok-/),
      disk_results: [
        {
          disk_id: `${contextId}-disk0`,
          disk_key: 2000,
          disk_number: 0,
          capacity_bytes: 2 ** 30,
          backup_type: 'full',
          reason: 'first_backup',
          reason_detail: 'this VM has no restore point in this repository yet',
          nbd_port: 10_100,
          nbd_export_name: 'pgtest1-disk0',
          qcow2_path: expect.stringContaining('/disk-0/'),
          qemu_nbd_pid: 4711,
          status: 'qemu_started',
          error: null,
        },
      ],
      nbd_targets_string: '2000:nbd://127.0.0.1:10100/pgtest1-disk0',
      skipped_disks: [{ disk_key: 2001, reason: 'independent' }],
      progress: { bytes_done: 0, disks: [{ disk_key: 2000 }] },
      error: null,
    });
    expect((await hub.get(`/api/v1/backups/${id}`)).body).toEqual(body);
    const again = await start();
    expect([again.status, again.body['code']]).toEqual([409, 'backup_already_running']);
    expect(again.body['context']).toMatchObject({ backup_id: id });
    expect((await hub.get('/api/v1/system')).body).toMatchObject({
      ports: { leased: [{ port: 10_100, backup_id: id, node_name: 'site-1' }] },
    });
  });

  it('are named by every disk key in the targets string', async () => {
    const { body } = await start({ vm_name: undefined, context_id: contextId });
    expect(body['nbd_targets_string']).toBe(
      `2000:nbd://127.0.0.1:10100/${name}-disk0,2001:nbd://127.0.0.1:10101/${name}-disk1`,
    );
  });

  it.each([
    [{ vm_name: undefined }, 400, 'give either vm_name or context_id'],
    [{ context_id: 'x' }, 400, 'give either vm_name or context_id'],
    [{ backup_type: 'differential' }, 400, 'backup_type must be one of full, incremental'],
    [{ repository_id: undefined }, 400, 'repository_id is missing'],
    [{ quiesced: true }, 400, 'quiesced is not a field of the body'],
    [{ vm_name: 'nobody' }, 404, 'nobody'],
    [{ vm_name: undefined, context_id: 'ctx-nobody' }, 404, 'ctx-nobody'],
    [{ repository_id: 'repo-local-1' }, 404, 'repo-local-1'],
  ])('refuse %j', async (change, status, detail) => {
    const answer = await start(change);
    expect(answer.status).toBe(status);
    expect(answer.body['detail']).toContain(detail);
  });

  it('show what would be done and do nothing in a dry run', async () => {
    const { status, body } = await start({ dry_run: true });
    expect(status).toBe(200);
    expect(body).toMatchObject({
      dry_run: true,
      context_id: contextId,
      ports_needed: 2,
      ports_free: 3,
      expected_bytes: 5,
      space_needed_bytes: 6,
      available_bytes: 7,
      disks: [
        {
          disk_key: 2000,
          reason: 'first_backup',
          reason_text: 'this VM has no restore point in this repository yet',
          parent_point_id: null,
        },
        { disk_key: 2001 },
      ],
      retention: { remove: ['backup-of-long-ago'], merge_bytes: 4 },
    });
    expect((await hub.get(`/api/v1/backups?context_id=${contextId}`)).body).toEqual({
      backups: [],
      next_cursor: null,
    });
  });

  it('show their place in the queue', async () => {
    hub.runs.queueNext = true;
    const { body } = await start();
    hub.runs.queueNext = false;
    expect(body).toMatchObject({
      state: 'queued',
      queue: { position: 1, waiting_for: '2 NBD ports' },
      disk_results: [{ nbd_port: null, qemu_nbd_pid: null, status: 'queued' }, {}],
      nbd_targets_string: '',
    });
    expect((await hub.get('/metrics')).text).toContain('sendense_backup_queue_length 1');
    expect((await hub.get('/metrics')).text).toContain('sendense_backups{state="queued"} 1');
  });

  it('are cancelled with a reason', async () => {
    const { body } = await start();
    const cancelled = await hub.post(`/api/v1/backups/${String(body['backup_id'])}/cancel`, {
      reason: 'maintenance 🙂',
    });
    expect([cancelled.status, cancelled.body['state']]).toEqual([202, 'cancelling']);
    expect(cancelled.body['cancel_reason']).toBe('maintenance 🙂');
    expect((await hub.post('/api/v1/backups/nothing/cancel')).status).toBe(404);
  });

  it('end with the error as it was', async () => {
    const { body } = await start();
    const id = String(body['backup_id']);
    await hub.runs.fail(id, new SendenseError('qemu_nbd_died', 'it died', { context: { disk_key: 2000 } }));
    expect((await hub.get(`/api/v1/backups/${id}`)).body).toMatchObject({
      state: 'failed',
      finished_at: expect.any(String),
      error: { code: 'qemu_nbd_died', message: 'it died', context: { disk_key: '2000' } },
      disk_results: [{ status: 'failed' }, { status: 'failed' }],
    });
    hub.runs.refuse = new SendenseError('node_offline', 'away', {
      context: { backup_id: 'b' },
      retryable: true,
    });
    const refused = await start();
    hub.runs.refuse = undefined;
    expect([refused.status, refused.body['retryable']]).toEqual([503, true]);
  });

  it('are listed newest first, by page, state and VM', async () => {
    await start();
    const all = (await hub.get('/api/v1/backups?limit=250')).body['backups'] as { backup_id: string }[];
    const paged: unknown[] = [];
    let cursor: string | null = '';
    do {
      const { body } = await hub.get(`/api/v1/backups?limit=2${cursor ? `&cursor=${cursor}` : ''}`);
      paged.push(...(body['backups'] as unknown[]));
      cursor = body['next_cursor'] as string | null;
    } while (cursor);
    expect(paged).toEqual(all);
    expect(all[0]!.backup_id).toContain(name);
    const failed = (await hub.get('/api/v1/backups?state=failed')).body['backups'] as unknown[];
    expect(failed).toHaveLength(1);
    expect((await hub.get(`/api/v1/backups?vm_name=${name}`)).body['backups']).toHaveLength(1);
    expect((await hub.get('/api/v1/backups?state=lost')).body['detail']).toMatch(
      /^state must be one of queued/,
    );
    expect((await hub.get('/api/v1/backups?cursor=%00nonsense')).status).toBe(400);
  });
});

describe('the events of a backup', () => {
  const lines = (text: string) => text.split('\n').filter((line) => /^(id|event):/.test(line));

  it('follow one another until it ends, from any number on', async () => {
    const { body } = await start();
    const id = String(body['backup_id']);
    const reading = hub.get(`/api/v1/backups/${id}/events`);
    hub.runs.emit(id, { type: 'snapshot_created', moref: 'snapshot-1', quiesced: false });
    hub.runs.emit(id, {
      type: 'warning',
      warning: { code: 'not_quiesced', message: 'no Tools', context: {} },
    });
    await hub.runs.fail(id, new SendenseError('node_lost', 'gone'));
    const { status, headers, text } = await reading;
    expect(status).toBe(200);
    expect(headers.get('content-type')).toMatch(/^text\/event-stream/);
    expect(headers.get('cache-control')).toBe('no-store');
    expect(lines(text)).toEqual([
      ...['id: 1', 'event: state', 'id: 2', 'event: snapshot_created'],
      ...['id: 3', 'event: warning', 'id: 4', 'event: state'],
    ]);
    expect(text).toContain('"error":{"code":"node_lost","message":"gone","context":{}}');
    const rest = await hub.get(`/api/v1/backups/${id}/events`, { headers: { 'last-event-id': '3' } });
    expect(lines(rest.text)).toEqual(['id: 4', 'event: state']);
    const wrong = await hub.get(`/api/v1/backups/${id}/events`, { headers: { 'last-event-id': 'x' } });
    expect([wrong.status, wrong.body['code']]).toEqual([400, 'invalid_argument']);
    expect((await hub.get('/api/v1/backups/nothing/events')).body['code']).toBe('job_not_found');
  });

  it('leave nothing waiting when the clients go, and end when the hub stops', async () => {
    await using other = await TestHub.start();
    const waiting = { now: 0 };
    other.runs.events = async function* (_id, _after, signal) {
      waiting.now += 1;
      yield { sequence: 1, at: new Date(), type: 'snapshot_removed', moref: 'm' };
      await new Promise((resolve) => signal!.addEventListener('abort', resolve, { once: true }));
      waiting.now -= 1;
    };
    const known = { id: 'b' };
    other.hub.context.catalog.backups.get = async () => known as never;
    const clients = Array.from({ length: 5 }, () => new AbortController());
    for (const client of clients) await other.fetch('GET', '/api/v1/backups/b/events', {}, client.signal);
    await eventually('five wait', () => waiting.now === 5);
    for (const client of clients.slice(1)) client.abort();
    await eventually('one waits', () => waiting.now === 1);
    await other.hub[Symbol.asyncDispose]();
    expect(waiting.now).toBe(0);
    clients[0]!.abort();
  });
});
