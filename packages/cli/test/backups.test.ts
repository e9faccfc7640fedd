import { describe, expect, it } from '@jest/globals';
import type { Backup } from '../src/api-types.js';
import { liveView, progressLine } from '../src/backup-view.js';
import { FakeHub } from './fake-hub.js';

const MIB = 1024 ** 2;
const GIB = 1024 ** 3;
const ID = 'backup-pg-1';
const START = 'POST /api/v1/backups';
const BACKUP = `GET /api/v1/backups/${ID}`;
const CANCEL = `POST /api/v1/backups/${ID}/cancel`;
const START_COMMAND = ['backup', 'start', 'pgtest1', '--repository', 'repo-1'];

function disk(disk_key: number): Backup['disk_results'][number] {
  return {
    ...{ disk_id: `disk-${disk_key}`, disk_key, disk_number: disk_key - 2000, capacity_bytes: 2 * GIB },
    ...{ backup_type: 'full', reason: 'first_backup', status: 'running' },
  };
}

function backup(state: string, more: Partial<Backup> = {}): { body: Backup } {
  return {
    body: {
      ...{ backup_id: ID, vm_name: 'pgtest1', repository_id: 'repo-1', backup_type: 'full', state },
      ...{ created_at: '2026-11-21T08:43:16.000Z', started_at: null, finished_at: null },
      disk_results: [disk(2000), disk(2001)],
      ...{ skipped_disks: [], warnings: [], progress: null, error: null },
      ...more,
    },
  };
}

const halfway: Partial<Backup> = {
  progress: {
    ...{ bytes_done: 2 * GIB, bytes_total: 4 * GIB, bytes_per_second: 300 * MIB, seconds_left: 7 },
    disks: [
      { disk_key: 2000, bytes_done: 2 * GIB, bytes_total: 2 * GIB, bytes_per_second: null, seconds_left: 0 },
      { disk_key: 2001, bytes_done: 0, bytes_total: 2 * GIB, bytes_per_second: 0, seconds_left: null },
    ],
  },
};
const HALFWAY = '[############------------]  50 %  2.0 GiB of 4.0 GiB  300.0 MiB/s  0:07 left';
const DISK_2000 = '[########################] 100 %  2.0 GiB of 2.0 GiB';
const DISK_2001 = '[------------------------]   0 %  0 B of 2.0 GiB';

const queued = backup('queued');
const running = backup('running', halfway);
const completed = backup('completed', {
  progress: { bytes_done: 4 * GIB, bytes_total: 4 * GIB, bytes_per_second: null, seconds_left: 0 },
});
const failed = backup('failed', {
  error: { code: 'repository_full', message: 'repo-1 has no room for disk 2001' },
});
const cancelled = backup('cancelled', {
  error: { code: 'cancelled', message: 'cancelled by alice' },
});

describe('a backup that is followed', () => {
  it('is plain lines when piped: each disk and the total, and how it ended on stdout', async () => {
    await using hub = await FakeHub.start();
    hub.answers(START, { status: 202, ...queued });
    hub.answers(BACKUP, queued, running, completed);
    const { exitCode, out, err, drawn } = await hub.run([...START_COMMAND, '--follow']);
    expect(exitCode).toBe(0);
    expect(err.split('\n').map((line) => line.split('\t'))).toEqual([
      [ID, 'queued'],
      [ID, 'running', 'disk 2000', DISK_2000],
      [ID, 'running', 'disk 2001', DISK_2001],
      [ID, 'running', 'total', HALFWAY],
    ]);
    expect(out).toBe(`${ID} completed.`);
    expect(drawn).toEqual([]);
  });

  it('says a state once until it is known how much there is to do, and nothing that did not change', async () => {
    await using hub = await FakeHub.start();
    hub.answers(
      BACKUP,
      queued,
      queued,
      backup('preparing'),
      backup('preparing'),
      running,
      running,
      completed,
    );
    const { err } = await hub.run(['backup', 'follow', ID]);
    expect(err.split('\n').map((line) => line.split('\t'))).toEqual([
      [ID, 'queued'],
      [ID, 'preparing'],
      [ID, 'running', 'disk 2000', DISK_2000],
      [ID, 'running', 'disk 2001', DISK_2001],
      [ID, 'running', 'total', HALFWAY],
    ]);
  });

  it('is one block on a terminal that is drawn anew: each disk and the total', async () => {
    await using hub = await FakeHub.start();
    hub.answers(BACKUP, running, completed);
    const { out, err, drawn } = await hub.run(['backup', 'follow', ID], { tty: true });
    expect(drawn).toEqual([
      [
        `${ID}  running`,
        `  disk 2000  ${DISK_2000}`,
        `  disk 2001  ${DISK_2001}`,
        `  total      ${HALFWAY}`,
      ].join('\n'),
      `${ID}  completed\n  total      [########################] 100 %  4.0 GiB of 4.0 GiB`,
    ]);
    expect(err).toBe('');
    expect(out).toBe(`${ID} completed.`);
  });

  it.each([
    ['completed', completed, 0],
    ['failed', failed, 1],
    ['was cancelled', cancelled, 6],
  ])('and %s has its exit code', async (_what, end, expected) => {
    await using hub = await FakeHub.start();
    hub.answers(START, { status: 202, ...queued });
    hub.answers(CANCEL, running);
    hub.answers(BACKUP, end);
    for (const args of [
      ['backup', 'follow', ID],
      ['backup', 'follow', ID, '--json'],
      ['backup', 'cancel', ID, '--follow'],
      [...START_COMMAND, '--follow'],
    ])
      expect(await hub.run(args)).toMatchObject({ exitCode: expected });
    expect(await hub.run(['backup', 'follow', ID], { tty: true })).toMatchObject({ exitCode: expected });
  });

  it('and failed says why, with its disks', async () => {
    await using hub = await FakeHub.start();
    hub.answers(BACKUP, running, failed);
    const { out } = await hub.run(['backup', 'follow', ID]);
    expect(out).toMatch(/^error: +repo-1 has no room for disk 2001 \[repository_full\]$/m);
    expect(out).toMatch(/^1\t2001\t2\.0 GiB\tfull\t/m);
  });

  it('names the disks it left out and its warnings, also when it completed', async () => {
    await using hub = await FakeHub.start();
    const skipped_disks = [{ disk_key: 2002, reason: 'it is an independent disk' }];
    const warnings = [{ code: 'not_quiesced', message: 'the guest has no tools' }];
    hub.answers(BACKUP, backup('completed', { skipped_disks, warnings }));
    const { exitCode, out } = await hub.run(['backup', 'follow', ID]);
    expect(exitCode).toBe(0);
    expect(out.split('\n')).toEqual([
      `${ID} completed.`,
      'skipped disk 2002: it is an independent disk',
      'warning: the guest has no tools [not_quiesced]',
    ]);
  });

  it('answers in JSON with nothing else on stdout', async () => {
    await using hub = await FakeHub.start();
    hub.answers(BACKUP, running, completed);
    const { out, drawn } = await hub.run(['backup', 'follow', ID, '--json'], { tty: true });
    expect(JSON.parse(out)).toEqual(completed.body);
    expect(drawn).toEqual([]);
  });

  it('waits for a hub that is restarted', async () => {
    await using hub = await FakeHub.start();
    hub.answers(BACKUP, { status: 503, body: { code: 'shutting_down', detail: 'later' } }, completed);
    const { exitCode, err } = await hub.run(['backup', 'follow', ID]);
    expect(exitCode).toBe(0);
    expect(err).toBe('the hub does not answer; waiting for it');
  });
});

describe('the progress of a backup', () => {
  it('has no rate and no time left when they are not known', () => {
    const progress = { bytes_done: GIB, bytes_total: 4 * GIB, bytes_per_second: null, seconds_left: null };
    expect(progressLine(backup('running', { progress }).body)).toBe(
      '[######------------------]  25 %  1.0 GiB of 4.0 GiB',
    );
  });

  it('is the state alone until it is known how much there is to do', () => {
    expect(progressLine(queued.body)).toBe('queued');
    expect(liveView(queued.body)).toBe(`${ID}  queued\n  total      queued`);
  });

  it('of empty disks says so instead of 0 %', () => {
    const progress = { bytes_done: 0, bytes_total: 0 };
    expect(progressLine(backup('completed', { progress }).body)).toBe('nothing to copy: the disks are empty');
  });
});

describe('backup start', () => {
  it('asks for what its options say, and shows what was started', async () => {
    await using hub = await FakeHub.start();
    hub.answers(START, { status: 202, ...queued });
    const { exitCode, out } = await hub.run([...START_COMMAND, '--type', 'incremental', '--quiesce']);
    expect(exitCode).toBe(0);
    expect(hub.asked).toMatchObject([
      {
        what: START,
        body: { vm_name: 'pgtest1', repository_id: 'repo-1', backup_type: 'incremental', quiesce: true },
      },
    ]);
    expect(out).toMatch(/^backup: +backup-pg-1$/m);
    expect(out).toMatch(/^state: +queued$/m);
  });

  it.each([
    ['backup_already_running', 409, 1],
    ['permission_denied', 403, 4],
    ['vm_not_found', 404, 5],
  ])('that is refused (%s) says why and has the exit code of its reason', async (code, status, expected) => {
    await using hub = await FakeHub.start();
    const context = { backup_id: 'backup-pg-0' };
    hub.answers(START, { status, body: { code, detail: 'it says why', context } });
    const { exitCode, out, err } = await hub.run([...START_COMMAND, '--follow']);
    expect(exitCode).toBe(expected);
    expect(err).toBe(`sendense: it says why [${code}]\n  backup_id: backup-pg-0`);
    expect(out).toBe('');
    expect(hub.asked).toHaveLength(1);
  });

  it('refuses a type that does not exist before the hub is asked', async () => {
    await using hub = await FakeHub.start();
    const { exitCode, err } = await hub.run([...START_COMMAND, '--type', 'differential']);
    expect(exitCode).toBe(2);
    expect(err).toContain('expected full or incremental');
    expect(hub.asked).toEqual([]);
  });
});

describe('backup list', () => {
  const LIST = 'GET /api/v1/backups?state=failed&vm_name=pgtest1&limit=7';
  const LIST_COMMAND = ['backup', 'list', '--state', 'failed', '--vm', 'pgtest1', '--limit', '7'];

  it('shows what was asked for, a line each', async () => {
    await using hub = await FakeHub.start();
    hub.answers(LIST, { body: { backups: [running.body, failed.body] } });
    const { exitCode, out } = await hub.run(LIST_COMMAND);
    expect(exitCode).toBe(0);
    expect(out.split('\n').map((line) => line.split('\t'))).toEqual([
      ['BACKUP', 'VM', 'TYPE', 'STATE', 'DISKS', 'DONE', 'STARTED', 'ERROR'],
      [ID, 'pgtest1', 'full', 'running', '2', '2.0 GiB', '2026-11-21T08:43:16.000Z', '-'],
      [ID, 'pgtest1', 'full', 'failed', '2', '-', '2026-11-21T08:43:16.000Z', 'repository_full'],
    ]);
    expect(JSON.parse((await hub.run([...LIST_COMMAND, '--json'])).out)).toEqual([running.body, failed.body]);
  });

  it.each([
    [
      '--state',
      'nonsense',
      'expected queued, preparing, running, sealing, cancelling, completed, failed or cancelled',
    ],
    ['--limit', 'abc', 'expected a whole number from 1 to 250'],
    ['--limit', '0', 'expected a whole number from 1 to 250'],
    ['--limit', '251', 'expected a whole number from 1 to 250'],
    ['--limit', '1e2', 'expected a whole number from 1 to 250'],
  ])('refuses %s %s before the hub is asked, and says what there is', async (option, value, words) => {
    await using hub = await FakeHub.start();
    const { exitCode, err } = await hub.run(['backup', 'list', option, value]);
    expect(exitCode).toBe(2);
    expect(err).toContain(`'${value}' is invalid. ${words}`);
    expect(hub.asked).toEqual([]);
  });

  it('that is empty says what to do, and is an empty list in JSON', async () => {
    await using hub = await FakeHub.start();
    hub.answers('GET /api/v1/backups?limit=50', { body: { backups: [] } });
    const { out, err } = await hub.run(['backup', 'list']);
    expect(out).toBe('');
    expect(err).toContain('No backup yet');
    expect((await hub.run(['backup', 'list', '--json'])).out).toBe('[]');
  });
});

describe('backup cancel', () => {
  it('says what became of it', async () => {
    await using hub = await FakeHub.start();
    hub.answers(CANCEL, backup('cancelling'));
    const { exitCode, out } = await hub.run(['backup', 'cancel', ID]);
    expect(exitCode).toBe(0);
    expect(out).toBe(`${ID} is cancelling.`);
    expect(hub.asked).toHaveLength(1);
  });

  it('says why it cannot be', async () => {
    await using hub = await FakeHub.start();
    hub.answers(CANCEL, { status: 409, body: { code: 'conflict', detail: 'it has ended' } });
    const { exitCode, err } = await hub.run(['backup', 'cancel', ID, '--follow']);
    expect(exitCode).toBe(1);
    expect(err).toBe('sendense: it has ended [conflict]');
    expect(hub.asked).toHaveLength(1);
  });
});
