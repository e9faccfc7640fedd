import { describe, expect, it } from '@jest/globals';
import type { Task } from '../src/api-types.js';
import { FakeHub } from './fake-hub.js';

const GIB = 1024 ** 3;
const POINT = 'backup-pg-1';
const VERIFY = `POST /api/v1/restore-points/${POINT}/verify`;
const TASK = 'GET /api/v1/tasks/task-1';

function task(state: string, more: Partial<Task> = {}): { body: Task } {
  return {
    body: {
      task_id: 'task-1',
      kind: 'verify',
      state,
      ...{ subject_type: 'restore_point', subject_id: POINT },
      requested_by: 'token:1',
      created_at: '2026-11-21T08:43:16.000Z',
      started_at: null,
      ended_at: null,
      ...{ queue_position: null, waiting_for: null, bytes_done: null, bytes_total: null },
      error: null,
      result: null,
      ...more,
    },
  };
}

const running = (bytes_done: number) => task('running', { bytes_done, bytes_total: 2 * GIB });
const passed = task('completed', { result: { outcome: 'passed', quick: false, blocks_checked: 32_768 } });
const failed = task('failed', {
  error: {
    code: 'verification_failed',
    message: 'disk 2000 at offset 65536 is other than it was',
    context: { disk_key: '2000', offset: '65536' },
  },
});

describe('long work', () => {
  it('is stayed with until it ends: plain lines when piped, the exit code is the outcome', async () => {
    await using hub = await FakeHub.start();
    hub.answers(VERIFY, { status: 202, ...task('queued') });
    hub.answers(TASK, task('queued'), running(0), running(GIB), passed);
    const { exitCode, out, err, drawn } = await hub.run(['restore-point', 'verify', POINT]);
    expect(exitCode).toBe(0);
    expect(hub.asked[0]).toEqual({ what: VERIFY, body: {} });
    expect(err.split('\n').slice(0, 2)).toEqual([
      'task-1\tqueued\twaiting for its turn',
      expect.stringMatching(/^task-1\trunning\t\[-+\] {3}0 % {2}0 B of 2\.0 GiB$/),
    ]);
    expect(drawn).toEqual([]);
    expect(out).toBe(
      `verify of ${POINT}: completed (task-1).\noutcome: passed\nquick: false\nblocks checked: 32768`,
    );
  });

  it('draws one line on a terminal', async () => {
    await using hub = await FakeHub.start();
    hub.answers(VERIFY, { status: 202, ...task('queued') });
    const waiting = { queue_position: 2, waiting_for: 'backup backup-pg-2' };
    hub.answers(TASK, task('queued', waiting), running(GIB), passed);
    const { drawn, err } = await hub.run(['restore-point', 'verify', POINT, '--quick'], { tty: true });
    expect(hub.asked[0]!.body).toEqual({ quick: true });
    expect(err).toBe('');
    expect(drawn).toEqual([
      'task-1  queued  number 2, waiting for backup backup-pg-2',
      expect.stringMatching(/^task-1 {2}running {2}\[#{12}-{12}\] {2}50 % {2}1\.0 GiB of 2\.0 GiB$/),
      'task-1  completed',
    ]);
  });

  it.each([
    ['failed', failed, 1],
    ['was cancelled', task('cancelled', { cancel_reason: 'asked by alice' }), 6],
    ['found a failure', task('completed', { result: { outcome: 'failed' } }), 1],
  ])('that %s has its exit code', async (_what, end, expected) => {
    await using hub = await FakeHub.start();
    hub.answers(TASK, running(1), end);
    expect(await hub.run(['task', 'follow', 'task-1'])).toMatchObject({ exitCode: expected });
    expect(await hub.run(['task', 'follow', 'task-1', '--json'])).toMatchObject({ exitCode: expected });
  });

  it('that failed says where: disk and offset', async () => {
    await using hub = await FakeHub.start();
    hub.answers(TASK, failed);
    const { out } = await hub.run(['task', 'follow', 'task-1']);
    expect(out).toContain('error: disk 2000 at offset 65536 is other than it was [verification_failed]');
    expect(out).toContain('  disk_key: 2000\n  offset: 65536');
  });

  it('answers in JSON with nothing else on stdout', async () => {
    await using hub = await FakeHub.start();
    hub.answers(VERIFY, { status: 202, ...task('queued') });
    hub.answers(TASK, running(1), passed);
    const { out, drawn } = await hub.run(['restore-point', 'verify', POINT, '--json'], { tty: true });
    expect(JSON.parse(out)).toEqual(passed.body);
    expect(drawn).toEqual([]);
  });

  it('comes back at once with --no-wait', async () => {
    await using hub = await FakeHub.start();
    hub.answers('POST /api/v1/repositories/repo-1/rescan', { status: 202, ...task('queued') });
    hub.answers(`DELETE /api/v1/restore-points/${POINT}`, { status: 202, ...task('queued') });
    for (const args of [
      ['repository', 'rescan', 'repo-1'],
      ['restore-point', 'delete', POINT],
    ]) {
      const { exitCode, out } = await hub.run([...args, '--no-wait']);
      expect(exitCode).toBe(0);
      expect(out).toBe("task-1 is queued: see it with 'sendense task follow task-1'.");
    }
    expect(hub.asked).toHaveLength(2);
  });

  it('waits for a hub that is restarted', async () => {
    await using hub = await FakeHub.start();
    hub.answers(TASK, running(1), { status: 503, body: { code: 'shutting_down', detail: 'later' } }, passed);
    const { exitCode, err } = await hub.run(['task', 'follow', 'task-1']);
    expect(exitCode).toBe(0);
    expect(err).toContain('the hub does not answer; waiting for it');
  });

  it.each([
    ['restore_point_held', 409, 1],
    ['not_found', 404, 5],
  ])('that is refused (%s) has the exit code of its reason', async (code, status, expected) => {
    await using hub = await FakeHub.start();
    hub.answers(`DELETE /api/v1/restore-points/${POINT}`, { status, body: { code, detail: 'it says why' } });
    const { exitCode, err } = await hub.run(['restore-point', 'delete', POINT]);
    expect(exitCode).toBe(expected);
    expect(err).toContain(`it says why [${code}]`);
  });
});

describe('a rescan', () => {
  const rescanned = (counts: Record<string, number>, lists: Record<string, unknown>) =>
    task('completed', {
      kind: 'rescan',
      ...{ subject_type: 'repository', subject_id: 'repo-1' },
      result: { ...lists, counts },
    });

  it('shows what it found, a line each', async () => {
    await using hub = await FakeHub.start();
    hub.answers('POST /api/v1/repositories/repo-1/rescan', { status: 202, ...task('queued') });
    const found = { points_added: ['p1', 'p2'], strangers: ['ctx/odd\nname'], damaged: [] };
    hub.answers(TASK, rescanned({ points_added: 2, strangers: 1500, damaged: 0 }, found));
    const { exitCode, out } = await hub.run(['repository', 'rescan', 'repo-1']);
    expect(exitCode).toBe(0);
    expect(out).toBe(
      'rescan of repo-1: completed (task-1).\npoints added (2):\n  p1\n  p2\nstrangers (1500):\n  ctx/odd\\nname\n  … and 1499 more',
    );
  });

  it.each(['damaged', 'points_missing'])(
    'that found %s is loud, and its exit code is not 0',
    async (what) => {
      await using hub = await FakeHub.start();
      hub.answers('POST /api/v1/repositories/repo-1/rescan', { status: 202, ...task('queued') });
      const found = [{ path: 'ctx/manifests/p3.json', reason: 'it is not JSON' }];
      hub.answers(TASK, rescanned({ [what]: 1 }, { [what]: found }));
      const { exitCode, out } = await hub.run(['repository', 'rescan', 'repo-1']);
      expect(exitCode).toBe(1);
      expect(out).toContain('  path: ctx/manifests/p3.json, reason: it is not JSON');
      expect(out).toContain('WARNING: the repository is damaged');
    },
  );
});

describe('tasks', () => {
  it('are listed with what was asked for, and shown', async () => {
    await using hub = await FakeHub.start();
    hub.answers('GET /api/v1/tasks?state=running&kind=verify&limit=7', {
      body: { tasks: [running(GIB).body, failed.body] },
    });
    const args = ['--state', 'running', '--kind', 'verify', '--limit', '7'];
    const { out } = await hub.run(['task', 'list', ...args]);
    expect(out.split('\n').map((line) => line.split('\t'))).toEqual([
      ['TASK', 'KIND', 'SUBJECT', 'STATE', 'DONE', 'CREATED', 'ENDED', 'ERROR'],
      ['task-1', 'verify', POINT, 'running', '50 %', '2026-11-21T08:43:16.000Z', '-', '-'],
      ['task-1', 'verify', POINT, 'failed', '-', '2026-11-21T08:43:16.000Z', '-', 'verification_failed'],
    ]);
    hub.answers(TASK, passed);
    expect((await hub.run(['task', 'show', 'task-1'])).out).toMatch(
      /^task: +task-1\nkind: +verify\nrestore point: +backup-pg-1\nstate: +completed\n/,
    );
    hub.answers('GET /api/v1/tasks?limit=50', { body: { tasks: [] } });
    expect((await hub.run(['task', 'list'])).err).toContain('No task yet');
    expect(hub.asked).toHaveLength(3);
  });

  it.each([
    ['task', '--state', 'preparing', 'expected queued, running, completed, failed or cancelled'],
    ['task', '--kind', 'backup', 'expected verify, remove, prune, rescan or export'],
    ['task', '--limit', '0', 'expected a whole number from 1 to 250'],
    ['audit', '--limit', 'many', 'expected a whole number from 1 to 250'],
  ])('are not asked for by what there is not: %s %s %s', async (what, option, value, words) => {
    await using hub = await FakeHub.start();
    const { exitCode, err } = await hub.run([what, ...(what === 'task' ? ['list'] : []), option, value]);
    expect(exitCode).toBe(2);
    expect(err).toContain(`'${value}' is invalid. ${words}`);
    expect(hub.asked).toEqual([]);
  });

  it('say a state once where they are followed through a pipe', async () => {
    await using hub = await FakeHub.start();
    hub.answers(TASK, task('running'), task('cancelling'), task('cancelling'), task('cancelled'));
    const { err } = await hub.run(['task', 'follow', 'task-1']);
    expect(err).toBe('task-1\trunning\tat work\ntask-1\tcancelling');
  });

  it('are cancelled, or say why they cannot be', async () => {
    await using hub = await FakeHub.start();
    const cancel = 'POST /api/v1/tasks/task-1/cancel';
    hub.answers(cancel, running(1));
    expect((await hub.run(['task', 'cancel', 'task-1'])).out).toBe('task-1 is asked to stop.');
    hub.answers(TASK, running(1), task('cancelled'));
    expect((await hub.run(['task', 'cancel', 'task-1', '--follow'])).exitCode).toBe(6);
    hub.answers(cancel, { status: 409, body: { code: 'conflict', detail: 'the merge has begun' } });
    const { exitCode, err } = await hub.run(['task', 'cancel', 'task-1']);
    expect(exitCode).toBe(1);
    expect(err).toContain('the merge has begun [conflict]');
  });
});
