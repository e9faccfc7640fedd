import { BACKUP_STATES } from '@sendense/core';
import { Type } from 'typebox';
import { Bytes, Exactly, Id, Name, NextCursor, Nullable, NullableInput, pageQuery, Time } from './fields.js';

const BackupType = Type.Enum(['full', 'incremental']);
const DiskStatus = Type.Enum([
  'queued',
  'preparing',
  'qemu_started',
  'copying',
  'copied',
  'completed',
  'failed',
  'skipped',
]);

const disk = {
  disk_id: Type.String(),
  disk_key: Type.Integer({ description: "vSphere's device key", examples: [2000] }),
  disk_number: Type.Integer(),
  label: Type.String(),
  capacity_bytes: Bytes('size of the disk'),
};

const reason = {
  reason: Type.String({ description: 'stable: why it is full or incremental' }),
  reason_detail: Type.String({ description: 'the same in words' }),
};

const ErrorView = Type.Object({
  code: Type.String(),
  message: Type.String(),
  context: Type.Record(Type.String(), Type.String()),
});

const progress = {
  bytes_done: Bytes('read and written'),
  bytes_total: Bytes('to read; the capacity until it is known'),
  bytes_per_second: Nullable(Bytes('of the last seconds; null when nothing runs')),
  seconds_left: Nullable(Type.Integer({ minimum: 0, description: 'null while nothing moves' })),
};

export const Progress = Type.Object({
  ...progress,
  disks: Type.Array(Type.Object({ disk_key: Type.Integer(), ...progress })),
});

const DiskResult = Type.Object({
  ...disk,
  backup_type: BackupType,
  ...reason,
  nbd_port: Nullable(Type.Integer()),
  nbd_export_name: Nullable(Type.String({ examples: ['pgtest1-disk0'] })),
  qcow2_path: Nullable(
    Type.String({ description: '`.partial` is appended to its name until the backup is sealed' }),
  ),
  qemu_nbd_pid: Nullable(Type.Integer()),
  audited_blocks: Nullable(
    Type.Integer({
      description:
        'of 64 KiB: looked at and found unchanged, as changed block tracking says; null before that, and for a full',
    }),
  ),
  status: DiskStatus,
  error: Nullable(ErrorView),
});

const SkippedDisk = Type.Object({
  ...disk,
  reason: Type.String({ description: '`independent`, `physical_rdm`, `shared`' }),
});

const Snapshot = Type.Object(
  {
    moref: Type.String(),
    name: Type.String(),
    quiesced: Type.Boolean({ description: 'what really happened' }),
    quiesce_note: Nullable(
      Type.String({ description: 'why it is not quiesced although that was asked for' }),
    ),
    created_at: Time('the instant that the restore point shows'),
    removed_at: Nullable(Time('null while it is there')),
  },
  { description: 'the one VMware snapshot of this backup' },
);

export const Backup = Type.Object(
  {
    backup_id: Type.String({ examples: ['backup-pgtest1-20261121-084316'] }),
    context_id: Type.String(),
    vm_name: Type.String(),
    repository_id: Type.String(),
    node_name: Type.String(),
    backup_type: BackupType,
    state: Type.Enum([...BACKUP_STATES]),
    quiesce: Type.Boolean({ description: 'whether it was asked for' }),
    requested_by: Type.String(),
    created_at: Time('when it was asked for'),
    started_at: Nullable(Time('when its turn came')),
    finished_at: Nullable(Time('when it ended')),
    disk_results: Type.Array(DiskResult),
    nbd_targets_string: Type.String({
      examples: ['2000:nbd://127.0.0.1:10100/pgtest1-disk0,2001:nbd://127.0.0.1:10101/pgtest1-disk1'],
    }),
    skipped_disks: Type.Array(SkippedDisk),
    warnings: Type.Array(ErrorView, { description: 'what should be known although the backup went on' }),
    snapshot: Nullable(Snapshot),
    progress: Progress,
    queue: Nullable(
      Type.Object({
        position: Type.Integer({ description: '1 is next' }),
        waiting_for: Type.String(),
      }),
    ),
    cancel_reason: Nullable(Type.String()),
    restore_point_id: Nullable(Type.String({ description: 'set once it is completed' })),
    error: Nullable(ErrorView),
  },
  { title: 'Backup' },
);

export const BackupPage = Type.Object({ backups: Type.Array(Backup), next_cursor: NextCursor });

export const BackupPlan = Type.Object(
  {
    dry_run: Type.Literal(true),
    context_id: Type.String(),
    vm_name: Type.String(),
    repository_id: Type.String(),
    backup_type: Type.Enum(['full', 'incremental'], { description: 'what was asked for' }),
    disks: Type.Array(
      Type.Object({
        ...disk,
        backup_type: BackupType,
        reason: reason.reason,
        reason_text: Type.String({ description: 'the same in words' }),
        expected_bytes: Bytes('what will probably be read: as much as last time, at most the capacity'),
        parent_point_id: Nullable(Type.String({ description: 'whose image it would build on' })),
      }),
    ),
    skipped_disks: Type.Array(SkippedDisk),
    expected_bytes: Bytes('what will probably be read, of all disks'),
    ports_needed: Type.Integer({ description: 'NBD ports: one a disk' }),
    ports_free: Type.Integer({
      description: 'NBD ports that nobody uses now; when they are too few it queues',
    }),
    space_needed_bytes: Bytes('what the repository would take up, if all that is expected has to be stored'),
    available_bytes: Bytes('free in the repository now'),
    retention: Type.Object(
      {
        remove: Type.Array(Type.String(), { description: 'restore points that would be removed afterwards' }),
        merge_bytes: Bytes('what merging their data into the points that stay copies at most'),
      },
      { description: 'by the policy in force, once the new point is there' },
    ),
  },
  { title: 'BackupPlan', description: 'what a backup would do; nothing was started' },
);

export const NewBackup = Exactly(
  {
    vm_name: Type.Optional(Name('a protected VM; give context_id when several share the name')),
    context_id: Type.Optional(Id('a protected VM')),
    repository_id: Id('where to'),
    backup_type: BackupType,
    quiesce: Type.Optional(
      Type.Boolean({ description: 'ask the guest to flush its file systems; false if not given' }),
    ),
    dry_run: Type.Optional(Type.Boolean({ description: 'only answer with the plan' })),
  },
  'NewBackup',
);

export const BackupsQuery = Exactly({
  ...pageQuery,
  state: Type.Optional(Type.Enum([...BACKUP_STATES])),
  vm_name: Type.Optional(Name('only those of VMs of exactly this name')),
  context_id: Type.Optional(Id('only those of this VM')),
  repository_id: Type.Optional(Id('only those in this repository')),
});

export const CancelBackup = Type.Optional(
  NullableInput(Exactly({ reason: Type.Optional(Name('kept with the backup')) }, 'CancelBackup')),
);
