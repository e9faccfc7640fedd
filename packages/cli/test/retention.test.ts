import { describe, expect, it } from '@jest/globals';
import type { RetentionPreview } from '../src/api-types.js';
import { FakeHub } from './fake-hub.js';

const GIB = 1024 ** 3;
const AT = '2026-11-21T08:43:16.000Z';
const VM_POLICY = '/api/v1/vms/ctx-pg/retention';
const policy = { keep_last: 3, daily: 7, weekly: 0, monthly: 12, yearly: 0, time_zone: 'Europe/Berlin' };

describe('a retention policy', () => {
  it('belongs to a VM, named by name or context, or to a repository', async () => {
    await using hub = await FakeHub.start();
    hub.answers('GET /api/v1/vms?name=pg', { body: { vms: [{ context_id: 'ctx-pg' }], next_cursor: null } });
    hub.answers(`GET ${VM_POLICY}`, { body: { policy } });
    hub.answers('GET /api/v1/repositories/repo-1/retention', { body: { policy: null } });
    const shown = 'policy: the last 3, 7 daily, 12 monthly (days of Europe/Berlin)';
    expect((await hub.run(['retention', 'show', '--vm', 'pg'])).out).toBe(shown);
    expect((await hub.run(['retention', 'show', '--context', 'ctx-pg'])).out).toBe(shown);
    expect((await hub.run(['retention', 'show', '--repository', 'repo-1'])).out).toBe(
      'policy: none is set here',
    );
    for (const wrong of [[], ['--vm', 'pg', '--repository', 'repo-1'], ['--vm', 'pg', '--context', 'c']])
      expect((await hub.run(['retention', 'show', ...wrong])).exitCode).toBe(2);
  });

  it('is of exactly one VM: an unknown name is not found, a name of several is wrong usage', async () => {
    await using hub = await FakeHub.start();
    hub.answers('GET /api/v1/vms?name=none', { body: { vms: [], next_cursor: null } });
    expect((await hub.run(['retention', 'show', '--vm', 'none'])).exitCode).toBe(5);
    const twins = [{ context_id: 'ctx-a' }, { context_id: 'ctx-b' }];
    hub.answers('GET /api/v1/vms?name=twin', { body: { vms: twins, next_cursor: null } });
    expect(await hub.run(['retention', 'clear', '--vm', 'twin'])).toMatchObject({
      exitCode: 2,
      err: expect.stringContaining('ctx-a, ctx-b'),
    });
    expect(hub.asked.every(({ what }) => what.startsWith('GET'))).toBe(true);
  });

  it('is set and cleared', async () => {
    await using hub = await FakeHub.start();
    hub.answers(`PUT ${VM_POLICY}`, { body: { policy } });
    hub.answers(`DELETE ${VM_POLICY}`, { status: 204 });
    const rules = ['--keep-last', '3', '--daily', '7', '--monthly', '12', '--time-zone', 'Europe/Berlin'];
    expect((await hub.run(['retention', 'set', '--context', 'ctx-pg', ...rules])).exitCode).toBe(0);
    expect(hub.asked[0]!.body).toEqual(policy);
    for (const wrong of ['-1', '1.5', 'x', ''])
      expect((await hub.run(['retention', 'set', '--context', 'c', '--daily', wrong])).exitCode).toBe(2);
    expect((await hub.run(['retention', 'clear', '--context', 'ctx-pg'])).out).toBe('The policy is removed.');
    expect(hub.asked).toHaveLength(2);
  });
});

describe('retention', () => {
  it('is previewed with the reasons and the cost of each point', async () => {
    await using hub = await FakeHub.start();
    const preview: RetentionPreview = {
      policy,
      policy_source: 'vm',
      points: [
        {
          ...{ restore_point_id: 'p2', taken_at: AT, backup_type: 'incremental', suspect: false },
          action: 'keep',
          reasons: [
            { reason: 'last', detail: '1 of 3' },
            { reason: 'daily', detail: '2026-11-21' },
          ],
          removal: null,
        },
        {
          ...{ restore_point_id: 'p1', taken_at: AT, backup_type: 'full', suspect: true },
          ...{ action: 'remove', reasons: [] },
          removal: { methods: ['commit', 'pull'], bytes_to_copy: GIB, bytes_freed: 2 * GIB, fits: false },
        },
        {
          ...{ restore_point_id: 'p0', taken_at: AT, backup_type: 'full', suspect: true },
          ...{ action: 'remove', reasons: [], blocked: 'it is suspect', removal: null },
        },
      ],
      ...{ remove_count: 1, bytes_to_copy: GIB, bytes_freed: 2 * GIB },
    };
    hub.answers(`GET ${VM_POLICY}/preview?repository_id=repo-1`, { body: preview });
    const { out } = await hub.run(['retention', 'preview', '--context', 'ctx-pg', '--repository', 'repo-1']);
    for (const said of [
      "(days of Europe/Berlin), the VM's own",
      `p2\t${AT}\tincremental\tsealed\tkeep\tlast 1 of 3, daily 2026-11-21\t-\t-\t-`,
      `p1\t${AT}\tfull\tSUSPECT\tremove\t-\tcommit, pull\t1.0 GiB\t2.0 GiB`,
      `p0\t${AT}\tfull\tSUSPECT\tSTAYS\t-`,
      'warning: p0 should go and cannot: it is suspect',
      '1 of 3 would be removed: 2.0 GiB freed, 1.0 GiB copied at most.',
      'warning: there is no room now to merge p1',
    ])
      expect(out).toContain(said);
    expect((await hub.run(['retention', 'preview', '--context', 'ctx-pg'])).exitCode).toBe(2);
  });

  it('without a policy keeps everything', async () => {
    await using hub = await FakeHub.start();
    const nothing = { points: [], remove_count: 0, bytes_to_copy: 0, bytes_freed: 0 };
    hub.answers(`GET ${VM_POLICY}/preview?repository_id=repo-1`, {
      body: { policy: null, policy_source: 'none', ...nothing },
    });
    const { out } = await hub.run(['retention', 'preview', '--context', 'ctx-pg', '--repository', 'repo-1']);
    expect(out).toBe(
      'policy: none: every restore point is kept\n\nThere is no restore point yet.\n\nNothing would be removed.',
    );
  });

  it('is applied as long work', async () => {
    await using hub = await FakeHub.start();
    const task = {
      ...{ task_id: 'task-1', kind: 'prune', subject_type: 'vm', subject_id: 'ctx-pg', requested_by: 'x' },
      created_at: AT,
    };
    hub.answers(`POST ${VM_POLICY}/apply`, { status: 202, body: { ...task, state: 'queued' } });
    const result = { removed: ['p0', 'p1'], bytes_merged: 3 * GIB };
    hub.answers('GET /api/v1/tasks/task-1', { body: { ...task, state: 'completed', result } });
    const where = ['--context', 'ctx-pg', '--repository', 'repo-1'];
    const { exitCode, out } = await hub.run(['retention', 'apply', ...where]);
    expect(exitCode).toBe(0);
    expect(hub.asked[0]!.body).toEqual({ repository_id: 'repo-1' });
    expect(out).toBe('prune of ctx-pg: completed (task-1).\nremoved (2):\n  p0\n  p1\nbytes merged: 3.0 GiB');
  });
});
