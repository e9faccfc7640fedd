import type { RestorePointRecord } from '@sendense/catalog';
import { Type, type Static } from 'typebox';
import { textFormat } from '../api/validation.js';
import { EXPORT_FORMATS } from '../exports/export-disk.js';
import {
  Bytes,
  Exactly,
  Id,
  iso,
  Name,
  NextCursor,
  Nullable,
  NullableInput,
  pageQuery,
  Time,
} from './fields.js';

const BackupType = Type.Enum(['full', 'incremental']);

export const RestorePoint = Type.Object(
  {
    restore_point_id: Type.String({ description: 'the id of the backup that made it' }),
    context_id: Type.String(),
    vm_name: Type.String(),
    vm_instance_uuid: Type.String(),
    repository_id: Type.String(),
    backup_type: Type.Enum(['full', 'incremental'], {
      description: '`incremental` when any of its disks is',
    }),
    taken_at: Time('the instant that it shows'),
    sealed_at: Time('since when it can be restored'),
    quiesced: Type.Boolean(),
    manifest_path: Type.String({ description: "relative to the repository's path" }),
    stored_bytes: Bytes('what its own images occupy, without those that they build on'),
    state: Type.Enum(['sealed', 'removing'], {
      description: '`removing`: its removal was decided, and it is no restore point any more',
    }),
    suspect: Type.Boolean({ description: 'its content is in doubt: restore from another one' }),
    suspect_reason: Nullable(Type.String()),
    verification: Nullable(
      Type.Enum(['passed', 'failed'], { description: 'how the last verification ended' }),
    ),
    verified_at: Nullable(Time('of that verification')),
    verified_full: Nullable(
      Type.Boolean({ description: 'whether it read every block, or looked at the structure alone' }),
    ),
    verification_detail: Nullable(Type.String({ description: 'what it found' })),
    held_at: Nullable(Time('since when nobody may remove it')),
    hold_reason: Nullable(Type.String()),
    disks: Type.Array(
      Type.Object({
        disk_id: Type.String(),
        disk_key: Type.Integer(),
        disk_number: Type.Integer(),
        label: Type.String(),
        capacity_bytes: Bytes('size of the disk'),
        backup_type: BackupType,
        reason: Type.String(),
        image_path: Type.String({ description: "relative to the repository's path" }),
        hashes_path: Nullable(Type.String()),
        parent_point_id: Nullable(
          Type.String({ description: 'whose image of this disk is the backing file' }),
        ),
        stored_bytes: Bytes('what the image occupies'),
      }),
    ),
  },
  { title: 'RestorePoint' },
);

export const RestorePointPage = Type.Object({
  restore_points: Type.Array(RestorePoint),
  next_cursor: NextCursor,
});

export const Hold = Exactly(
  {
    reason: Type.String({
      minLength: 1,
      maxLength: 1000,
      ...textFormat,
      description: 'for whoever wants to remove it',
    }),
  },
  'Hold',
);

export const Verify = Type.Optional(
  NullableInput(
    Exactly(
      {
        quick: Type.Optional(
          Type.Boolean({ description: 'only the structure of the files; nothing of the disks is read' }),
        ),
      },
      'Verify',
    ),
  ),
);

export const Export = Exactly(
  {
    to: Type.String({
      minLength: 1,
      maxLength: 1024,
      ...textFormat,
      description: 'name of the folder that is made below SENDENSE_EXPORT_DIR; it must not be there',
      examples: ['pgtest1-of-monday'],
    }),
    disk_keys: Type.Optional(
      Type.Array(Type.Integer(), { minItems: 1, maxItems: 1000, description: 'all disks if not given' }),
    ),
    format: Type.Optional(Type.Enum([...EXPORT_FORMATS], { description: '`raw` if not given' })),
    accept_suspect: Type.Optional(
      Type.Boolean({ description: 'also a suspect point; a block that is wrong fails it all the same' }),
    ),
  },
  'Export',
);

export const RestorePointsQuery = Exactly({
  ...pageQuery,
  vm_name: Type.Optional(Name('only those of VMs of exactly this name')),
  context_id: Type.Optional(Id('only those of this VM')),
  repository_id: Type.Optional(Id('only those in this repository')),
});

export function restorePointView(record: RestorePointRecord): Static<typeof RestorePoint> {
  return {
    restore_point_id: record.id,
    context_id: record.contextId,
    vm_name: record.vmName,
    vm_instance_uuid: record.vmInstanceUuid,
    repository_id: record.repositoryId,
    backup_type: record.type,
    taken_at: record.takenAt.toISOString(),
    sealed_at: record.sealedAt.toISOString(),
    quiesced: record.quiesced,
    manifest_path: record.manifestPath,
    stored_bytes: record.disks.reduce((sum, disk) => sum + disk.storedBytes, 0),
    state: record.state,
    suspect: record.suspect,
    suspect_reason: record.suspectReason ?? null,
    verification: record.verification ?? null,
    verified_at: iso(record.verifiedAt),
    verified_full: record.verifiedFull ?? null,
    verification_detail: record.verificationDetail ?? null,
    held_at: iso(record.heldAt),
    hold_reason: record.holdReason ?? null,
    disks: record.disks.map((disk) => ({
      disk_id: disk.diskId,
      disk_key: disk.diskKey,
      disk_number: disk.diskNumber,
      label: disk.label,
      capacity_bytes: disk.capacityBytes,
      backup_type: disk.backupType,
      reason: disk.reason,
      image_path: disk.imagePath,
      hashes_path: disk.hashesPath ?? null,
      parent_point_id: disk.parentPointId ?? null,
      stored_bytes: disk.storedBytes,
    })),
  };
}
