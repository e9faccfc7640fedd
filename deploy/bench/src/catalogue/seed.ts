import type { CatalogueSizes } from './sizes.js';

/** In what the two databases differ, as far as these statements need it. */
export interface Dialect {
  /** A table with the one column `i`: these whole numbers. */
  readonly numbers: (from: number, to: number) => string;
  /** A stored time. @param seconds an expression, since 1970 */
  readonly time: (seconds: string) => string;
  /** `20261121-084316` */
  readonly stamp: (seconds: string) => string;
}

export const SQLITE: Dialect = {
  numbers: (from, to) =>
    `(WITH RECURSIVE c(i) AS (VALUES (${from}) UNION ALL SELECT i + 1 FROM c WHERE i < ${to}) SELECT i FROM c)`,
  time: (seconds) => `strftime('%Y-%m-%dT%H:%M:%S.000+00:00', ${seconds}, 'unixepoch')`,
  stamp: (seconds) => `strftime('%Y%m%d-%H%M%S', ${seconds}, 'unixepoch')`,
};

export const MARIADB: Dialect = {
  numbers: (from, to) => `(SELECT seq AS i FROM seq_${from}_to_${to})`,
  time: (seconds) => `TIMESTAMPADD(SECOND, ${seconds}, '1970-01-01 00:00:00')`,
  stamp: (seconds) => `DATE_FORMAT(TIMESTAMPADD(SECOND, ${seconds}, '1970-01-01 00:00:00'), '%Y%m%d-%H%i%s')`,
};

const DAY_S = 86_400;
/** Days of backups that are inserted by one statement. */
const DAYS_AT_ONCE = 5;
const GIB = 1024 ** 3;

/** Names of what is there, so that requests can ask for it. */
export class SeededNames {
  /** Seconds since 1970; whole days, so that times do not depend on when this runs. */
  readonly #first: number;

  constructor(
    readonly sizes: CatalogueSizes,
    readonly repositoryIds: readonly string[],
    now: Date,
  ) {
    this.#first = (Math.floor(now.getTime() / 1000 / DAY_S) - sizes.pointsPerVm) * DAY_S;
  }

  vm(number: number): string {
    return `vm-${100_000 + number}`;
  }

  contextId(number: number): string {
    return `ctx-${this.vm(number)}`;
  }

  repositoryId(vm: number): string {
    return this.repositoryIds[vm % this.repositoryIds.length] ?? '';
  }

  /** Seconds since 1970, of a VM's backup on a day. */
  at(vm: number, day: number): number {
    return this.#first + day * DAY_S + ((vm * 7) % 36_000);
  }

  backupId(vm: number, day: number): string {
    const at = new Date(this.at(vm, day) * 1000).toISOString();
    return `backup-${this.vm(vm)}-${at.slice(0, 10).replaceAll('-', '')}-${at.slice(11, 19).replaceAll(':', '')}`;
  }

  /** The same as expressions, of the columns `v.i` (VM) and `d.i` (day). */
  get sql() {
    const at = `(${this.#first} + d.i * ${DAY_S} + (v.i * 7) % 36000)`;
    const repository = `CASE v.i % ${this.repositoryIds.length} ${this.repositoryIds
      .map((id, index) => `WHEN ${index} THEN '${id}'`)
      .join(' ')} END`;
    return {
      vm: `CONCAT('vm-', 100000 + v.i)`,
      context: `CONCAT('ctx-vm-', 100000 + v.i)`,
      uuid: `CONCAT('5020a1b2-0000-4000-8000-', 100000000000 + v.i)`,
      repository,
      at,
      isFull: 'd.i % 20 = 0',
      backup: (dialect: Dialect, day = 0) =>
        `CONCAT('backup-vm-', 100000 + v.i, '-', ${dialect.stamp(`${at} + ${day * DAY_S}`)})`,
    };
  }
}

/**
 * The statements that fill a catalogue: VMs with a backup a day, a full every 20th; every fourth VM has two disks; on every
 * 20th day another backup failed; verifications, prunings, and a line of audit for each backup. They are grouped into what
 * belongs into one transaction. The keys of other tables are not looked after: nothing may check foreign keys meanwhile.
 */
export function* seedStatements(names: SeededNames, dialect: Dialect): Generator<string[]> {
  const { vms, pointsPerVm } = names.sizes;
  // What was done so far was done before all that follows, as its numbers say.
  yield [`UPDATE audit_events SET at = ${dialect.time(String(names.at(0, 0)))}`];
  yield inventory(names, dialect, dialect.numbers(0, vms - 1));
  for (let day = 0; day < pointsPerVm; day += DAYS_AT_ONCE) {
    const days = dialect.numbers(day, Math.min(day + DAYS_AT_ONCE, pointsPerVm) - 1);
    // The days outside: what happened later lies later in the tables.
    const rows = `FROM ${days} d CROSS JOIN ${dialect.numbers(0, vms - 1)} v`;
    yield [
      ...backups(names, dialect, rows),
      ...points(names, dialect, rows),
      ...history(names, dialect, rows),
    ];
  }
  yield tallies();
}

function inventory({ sql, repositoryIds }: SeededNames, { numbers, time }: Dialect, vms: string): string[] {
  const at = time('1767225600');
  const disk = (
    number: number,
  ) => `SELECT CONCAT(${sql.context}, '-disk${number}'), ${sql.context}, ${number},
    ${2000 + number}, 'Hard disk ${number + 1}', CONCAT('6000C29a-${number}-', v.i), CONCAT('[ds1] vm/vm_', v.i, '.vmdk'), 'ds1',
    ${100 * GIB}, 1000, ${number} FROM ${vms} v`;
  const columns = `INSERT INTO vm_disks (disk_id, context_id, disk_number, disk_key, label, backing_uuid, backing_file,
    datastore, capacity_bytes, controller_key, unit_number)`;
  return [
    `INSERT INTO nodes (name, state, public_key, created_at, enrolled_at, checks)
      SELECT CONCAT('node-', i), 'enrolled', CONCAT('ssh-ed25519 ', i), ${at}, ${at}, '[]' FROM ${numbers(100, 119)} n`,
    `INSERT INTO vmware_credentials SELECT CONCAT('vcenter-', i), CONCAT('vc', i), CONCAT('node-', i), 'vc.example', 'backup',
      'sealed', 'AB', ${at}, ${at} FROM ${numbers(100, 119)} n`,
    `INSERT INTO vm_replication_contexts (context_id, vcenter_id, moref, instance_uuid, name, power_state, host_moref,
      host_name, guest_full_name, created_at, updated_at) SELECT ${sql.context}, CONCAT('vcenter-', 100 + v.i % 20),
      CONCAT('vm-', v.i), ${sql.uuid}, ${sql.vm}, 'poweredOn', 'host-21', 'esx1.example', 'Debian GNU/Linux 12 (64-bit)',
      ${time('1767225600 + v.i * 60')}, ${at} FROM ${vms} v`,
    `${columns} ${disk(0)}`,
    `${columns} ${disk(1)} WHERE v.i % 4 = 0`,
    `INSERT INTO retention_policies (context_id, keep_last, daily, weekly, monthly, yearly, updated_at)
      SELECT ${sql.context}, 7, 14, 8, 12, 2, ${at} FROM ${vms} v WHERE v.i % 10 = 0`,
    ...repositoryIds.map(
      (
        id,
      ) => `INSERT INTO retention_policies (repository_id, keep_last, daily, weekly, monthly, yearly, updated_at)
      VALUES ('${id}', 7, 30, 8, 12, 2, ${at})`,
    ),
  ];
}

function tallies(): string[] {
  const tally = (name: string, table: string, by: string) =>
    `INSERT INTO tallies (name, value) SELECT CONCAT(${name}), COUNT(*) FROM ${table} GROUP BY ${by}`;
  return [
    tally(`'restore_points/', repository_id`, 'restore_points', 'repository_id'),
    tally(`'backups/', state`, 'backup_jobs', 'state'),
    tally(`'tasks/', kind, '/', state`, 'tasks', 'kind, state'),
  ];
}

function backups({ sql }: SeededNames, dialect: Dialect, rows: string): string[] {
  const { time } = dialect;
  const type = `CASE WHEN ${sql.isFull} THEN 'full' ELSE 'incremental' END`;
  const job = (
    id: string,
    state: string,
    later: number,
    error: string,
  ) => `INSERT INTO backup_jobs (id, context_id, vm_name,
    vm_instance_uuid, repository_id, node_name, type, quiesce, requested_by, state, created_at, started_at, ended_at,
    cancel_reason, error, warnings, last_event_sequence)
    SELECT ${id}, ${sql.context}, ${sql.vm}, ${sql.uuid}, ${sql.repository}, CONCAT('node-', 100 + v.i % 20), ${type}, 0,
    'token:tok-1', '${state}', ${time(`${sql.at} + ${later}`)}, ${time(`${sql.at} + ${later}`)},
    ${time(`${sql.at} + ${later} + 300`)}, 'asked for', ${error}, '[]', 12 ${rows}`;
  const disk = (
    id: string,
    status: string,
    error: string,
    number: number,
  ) => `INSERT INTO backup_disks (backup_id, disk_key,
    disk_id, disk_number, label, backing_uuid, capacity_bytes, backup_type, reason, status, qcow2_path, nbd_port,
    nbd_export_name, qemu_nbd_pid, error, bytes_done, bytes_total, bytes_written, bytes_zeroed)
    SELECT ${id}, ${2000 + number}, CONCAT(${sql.context}, '-disk${number}'), ${number}, 'Hard disk ${number + 1}',
    CONCAT('6000C29a-${number}-', v.i), ${100 * GIB}, ${type}, 'changed_blocks', '${status}',
    CONCAT('/backup/', ${sql.context}, '/disk-${number}/', ${id}, '.qcow2'), 10100, ${id}, 4711, ${error}, ${GIB}, ${GIB},
    ${GIB}, 0 ${rows}`;
  const completed = sql.backup(dialect);
  const failed = `CONCAT(${completed}, '-2')`;
  const error = `'{"code":"node_lost","message":"the node does not answer","context":{}}'`;
  return [
    job(completed, 'completed', 0, 'NULL'),
    disk(completed, 'completed', 'NULL', 0),
    `${disk(completed, 'completed', 'NULL', 1)} WHERE v.i % 4 = 0`,
    `${job(failed, 'failed', 7200, error)} WHERE d.i % 20 = 7`,
    `${disk(failed, 'failed', error, 0)} WHERE d.i % 20 = 7`,
    `${job(failed, 'cancelled', 7200, 'NULL')} WHERE d.i % 50 = 3 AND v.i % 50 = 3`,
  ];
}

function points({ sql }: SeededNames, dialect: Dialect, rows: string): string[] {
  const { time } = dialect;
  const id = sql.backup(dialect);
  const type = `CASE WHEN ${sql.isFull} THEN 'full' ELSE 'incremental' END`;
  const verifiedAt = `CASE WHEN d.i % 10 = 0 THEN ${time(`${sql.at} + ${DAY_S}`)} END`;
  const file = (number: number) => `CONCAT(${sql.context}, '/disk-${number}/', ${id})`;
  const disk = (
    number: number,
  ) => `INSERT INTO restore_point_disks (restore_point_id, disk_number, disk_id, disk_key, label,
    backing_uuid, capacity_bytes, backup_type, reason, image_path, hashes_path, change_id, parent_point_id, bytes_read,
    stored_bytes)
    SELECT ${id}, ${number}, CONCAT(${sql.context}, '-disk${number}'), ${2000 + number}, 'Hard disk ${number + 1}',
    CONCAT('6000C29a-${number}-', v.i), ${100 * GIB}, ${type}, 'changed_blocks', CONCAT(${file(number)}, '.qcow2'),
    CONCAT(${file(number)}, '.hashes'), CONCAT('52 de ad be ef/', d.i),
    CASE WHEN ${sql.isFull} THEN NULL ELSE ${sql.backup(dialect, -1)} END, ${GIB}, ${GIB} ${rows}`;
  return [
    `INSERT INTO restore_points (id, context_id, vm_name, vm_instance_uuid, repository_id, type, taken_at, sealed_at, quiesced,
      manifest_path, state, suspect, suspect_reason, verification, verified_at, verified_full, fully_verified_at)
      SELECT ${id}, ${sql.context}, ${sql.vm}, ${sql.uuid}, ${sql.repository}, ${type}, ${time(`${sql.at} + 20`)},
      ${time(`${sql.at} + 300`)}, 1, CONCAT(${sql.context}, '/manifests/', ${id}, '.json'), 'sealed',
      CASE WHEN v.i % 500 = 0 AND d.i % 20 = 19 THEN 1 ELSE 0 END,
      CASE WHEN v.i % 500 = 0 AND d.i % 20 = 19 THEN 'its verification failed' END,
      CASE WHEN d.i % 10 = 0 THEN 'passed' END, ${verifiedAt}, CASE WHEN d.i % 10 = 0 THEN 1 END, ${verifiedAt} ${rows}`,
    disk(0),
    `${disk(1)} WHERE v.i % 4 = 0`,
  ];
}

function history({ sql }: SeededNames, dialect: Dialect, rows: string): string[] {
  const { time } = dialect;
  const id = sql.backup(dialect);
  const task = (
    kind: string,
    subjectType: string,
    subjectId: string,
  ) => `INSERT INTO tasks (id, kind, subject_type,
    subject_id, args, requested_by, state, created_at, started_at, ended_at, bytes_done, bytes_total, error, result)
    SELECT CONCAT('task-${kind}-', v.i, '-', d.i), '${kind}', '${subjectType}', ${subjectId}, '{}', 'schedule',
    CASE WHEN v.i % 100 = 1 THEN 'failed' ELSE 'completed' END, ${time(`${sql.at} + 400`)}, ${time(`${sql.at} + 400`)},
    ${time(`${sql.at} + 500`)}, ${GIB}, ${GIB},
    CASE WHEN v.i % 100 = 1 THEN '{"code":"io_error","message":"cannot read","context":{}}' END,
    CASE WHEN v.i % 100 = 1 THEN NULL ELSE '{}' END ${rows}`;
  return [
    `${task('verify', 'restore_point', id)} WHERE d.i % 10 = 0`,
    `${task('prune', 'vm', sql.context)} WHERE d.i % 5 = 4`,
    `INSERT INTO audit_events (at, action, actor, outcome, subject_type, subject_id, remote_address, detail)
      SELECT ${time(`${sql.at} + 300`)}, CASE WHEN d.i % 2 = 0 THEN 'backup.start' ELSE 'backup.end' END,
      CASE WHEN d.i % 2 = 0 THEN 'token:tok-1' ELSE 'hub' END, CASE WHEN d.i % 20 = 7 THEN 'failed' ELSE 'ok' END, 'backup',
      ${id}, '10.0.0.1', CONCAT('{"state":"completed","vm_name":"', ${sql.vm}, '"}') ${rows}`,
  ];
}
