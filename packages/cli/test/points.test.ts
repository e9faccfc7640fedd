import { describe, expect, it } from '@jest/globals';
import type { BackupPlan, ProtectedVm, RestorePoint } from '../src/api-types.js';
import { FakeHub } from './fake-hub.js';

const GIB = 1024 ** 3;
const AT = '2026-11-21T08:43:16.000Z';

const point = (id: string, more: Partial<RestorePoint> = {}): RestorePoint => ({
  restore_point_id: id,
  vm_name: 'pg',
  repository_id: 'repo-1',
  backup_type: 'full',
  taken_at: AT,
  sealed_at: AT,
  quiesced: false,
  state: 'sealed',
  suspect: false,
  suspect_reason: null,
  ...{ verification: null, verified_at: null, verified_full: null, verification_detail: null },
  ...{ held_at: null, hold_reason: null },
  manifest_path: `ctx/manifests/${id}.json`,
  stored_bytes: GIB,
  disks: [
    {
      ...{ disk_key: 2000, disk_number: 0, capacity_bytes: 10 * GIB, backup_type: 'full' },
      ...{ image_path: `ctx/disk-0/${id}.qcow2`, parent_point_id: null, stored_bytes: GIB },
    },
  ],
  ...more,
});

const suspect = point('p2', {
  suspect: true,
  suspect_reason: 'disk 2000 at offset 0 is wrong\ndisk 2000 at offset 65536 is wrong',
  ...{ verification: 'failed', verified_at: AT, verified_full: true },
  verification_detail: 'disk 2000 at offset 0 is wrong',
});

describe('restore points', () => {
  it('show what is known of them, a suspect one loudly', async () => {
    await using hub = await FakeHub.start();
    const good = point('p1', {
      ...{ verification: 'passed', verified_at: AT, verified_full: false },
      ...{ held_at: AT, hold_reason: 'audit 2026' },
    });
    hub.answers('GET /api/v1/restore-points', {
      body: { restore_points: [suspect, good, point('p0', { state: 'removing' })], next_cursor: null },
    });
    const { out, err } = await hub.run(['restore-point', 'list']);
    expect(out.split('\n').map((line) => line.split('\t').slice(0, 7))).toEqual([
      ['RESTORE POINT', 'VM', 'TYPE', 'TAKEN', 'STATE', 'VERIFIED', 'HELD'],
      ['p2', 'pg', 'full', AT, 'SUSPECT', `FAILED ${AT}`, '-'],
      ['p1', 'pg', 'full', AT, 'sealed', `passed ${AT} (structure only)`, 'audit 2026'],
      ['p0', 'pg', 'full', AT, 'removing', '-', '-'],
    ]);
    expect(err).toBe('SUSPECT: p2 may not hold what it should: disk 2000 at offset 0 is wrong');
    const onTerminal = await hub.run(['restore-point', 'list'], { tty: true });
    const columns = onTerminal.out.split('\n').map((line) => line.indexOf('repo-1'));
    expect(new Set(columns.slice(1)).size).toBe(1);
  });

  it('begin with the doubt when they are shown', async () => {
    await using hub = await FakeHub.start();
    hub.answers('GET /api/v1/restore-points/p2', { body: suspect });
    hub.answers('GET /api/v1/restore-points/p0', { body: point('p0') });
    const { out } = await hub.run(['restore-point', 'show', 'p2']);
    expect(out.split('\n').slice(0, 4)).toEqual([
      '*** SUSPECT: this restore point may not hold what it should:',
      '  disk 2000 at offset 0 is wrong',
      '  disk 2000 at offset 65536 is wrong',
      "*** Verify it with 'sendense restore-point verify p2': one that passes takes this mark away.",
    ]);
    expect(out).toMatch(/^verified: +FAILED/m);
    expect(out).toContain('findings:\n  disk 2000 at offset 0 is wrong\n');
    hub.answers('GET /api/v1/restore-points/p2', {
      body: { ...suspect, suspect_reason: suspect.verification_detail },
    });
    expect((await hub.run(['restore-point', 'show', 'p2'])).out).not.toContain('findings');
    const good = (await hub.run(['restore-point', 'show', 'p0'])).out;
    expect(good).not.toContain('SUSPECT');
    expect(good).toMatch(/^verified: +never$/m);
  });

  it('are held with a reason, and released', async () => {
    await using hub = await FakeHub.start();
    hub.answers('PUT /api/v1/restore-points/p1/hold', {
      body: point('p1', { held_at: AT, hold_reason: 'audit' }),
    });
    hub.answers('DELETE /api/v1/restore-points/p1/hold', { body: point('p1') });
    expect((await hub.run(['restore-point', 'hold', 'p1', '--reason', 'audit'])).out).toBe(
      'p1 is held: audit',
    );
    expect(hub.asked[0]!.body).toEqual({ reason: 'audit' });
    expect((await hub.run(['restore-point', 'release', 'p1'])).out).toBe('p1 is no longer held.');
    expect((await hub.run(['restore-point', 'hold', 'p1'])).exitCode).toBe(2);
  });
});

describe('a VM', () => {
  const vm = (state: string, detail: string): ProtectedVm => ({
    context_id: 'ctx-pg',
    vm_name: 'pg',
    moref: 'vm-57',
    vcenter_id: null,
    disks: [],
    change_tracking: { state, detail },
  });

  it('says whether its changes are tracked, and warns when they cannot be', async () => {
    await using hub = await FakeHub.start();
    hub.answers('GET /api/v1/vms', { body: { vms: [vm('enabled', '')], next_cursor: null } });
    hub.answers('GET /api/v1/vms/ctx-pg', { body: vm('unavailable', 'it has snapshots') });
    expect((await hub.run(['vm', 'list'])).out.split('\n')[1]).toBe('ctx-pg\tpg\tvm-57\t0\t0 B\t-\tenabled');
    const { out } = await hub.run(['vm', 'show', 'ctx-pg']);
    expect(out).toMatch(/^change tracking: +unavailable \(it has snapshots\)$/m);
    expect(out).toContain('warning: without changed block tracking every backup is a full one');
  });
});

describe('a plan', () => {
  const plan: BackupPlan = {
    vm_name: 'pg',
    context_id: 'ctx-pg',
    repository_id: 'repo-1',
    backup_type: 'incremental',
    disks: [
      {
        ...{ disk_key: 2000, disk_number: 0, label: 'Hard disk 1', capacity_bytes: 10 * GIB },
        ...{ backup_type: 'incremental', reason: 'changed_blocks', reason_text: 'only what changed is read' },
        ...{ expected_bytes: GIB, parent_point_id: 'p1' },
      },
      {
        ...{ disk_key: 2001, disk_number: 1, label: 'Hard disk 2', capacity_bytes: 5 * GIB },
        ...{ backup_type: 'full', reason: 'disk_resized', reason_text: 'the capacity changed' },
        ...{ expected_bytes: 5 * GIB, parent_point_id: null },
      },
    ],
    skipped_disks: [{ disk_key: 2002, label: 'x', reason: 'independent' }],
    expected_bytes: 6 * GIB,
    ports_needed: 2,
    ports_free: 1,
    space_needed_bytes: 6 * GIB,
    available_bytes: 5 * GIB,
    retention: { remove: ['p0'], merge_bytes: 2 * GIB },
  };

  it('shows each disk with its reason, what is needed against what is there, and what goes afterwards', async () => {
    await using hub = await FakeHub.start();
    hub.answers('POST /api/v1/backups', { body: plan });
    const asked = ['pg', '--repository', 'repo-1', '--type', 'incremental'];
    const { exitCode, out } = await hub.run(['backup', 'plan', ...asked]);
    expect(exitCode).toBe(0);
    expect(hub.asked[0]!.body).toEqual({
      ...{ vm_name: 'pg', repository_id: 'repo-1', backup_type: 'incremental', dry_run: true },
    });
    for (const said of [
      'Nothing was started.',
      'incremental\t1.0 GiB\tp1\tchanged_blocks\tonly what changed is read',
      'full\t5.0 GiB\t-\tdisk_resized\tthe capacity changed',
      'removes 1 restore points (p0), merging 2.0 GiB at most',
      'skipped disk 2002: independent',
      'warning: 1.0 GiB are missing in the repository',
      'warning: it will wait until enough NBD ports are free',
    ])
      expect(out).toContain(said);
    expect(out).toMatch(/space: +6\.0 GiB needed, 5\.0 GiB free/);
    // The older way to say it.
    expect((await hub.run(['backup', 'start', ...asked, '--dry-run'])).out).toBe(out);
  });
});

describe('help', () => {
  it.each([
    'task',
    'task cancel',
    'restore-point verify',
    'restore-point delete',
    'restore-point hold',
    'retention set',
    'restore-point list',
    'restore-point show',
    'restore-point release',
    'task show',
    'task follow',
    'retention preview',
    'repository rescan',
    'backup plan',
  ])('of %s is there, with an example', async (words) => {
    await using hub = await FakeHub.start();
    const { exitCode, out } = await hub.run([...words.split(' '), '--help']);
    expect(exitCode).toBe(0);
    expect(out).toContain(`Usage: sendense ${words}`);
    if (words.includes(' ')) expect(out).toContain('Example');
  });
});
