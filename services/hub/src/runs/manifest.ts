import { isAbsolute } from 'node:path';
import { SendenseError } from '@sendense/core';
import { Type, type Static } from 'typebox';
import { Value } from 'typebox/value';

/**
 * One file per restore point, from which a lost catalogue can be rebuilt and a point restored with stock tools. Readers
 * refuse a version that they do not know; fields are only ever added within one.
 */
export const MANIFEST_SCHEMA = 'sendense-manifest/1';

const Text = Type.String({ maxLength: 10_000 });
const Id = Type.String({ minLength: 1, maxLength: 1_000 });
const Time = Type.String({ pattern: '^\\d{4}-\\d{2}-\\d{2}T\\d{2}:\\d{2}:\\d{2}\\.\\d{3}Z$' });
const Bytes = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER });
const DiskKey = Type.Integer({ minimum: 0, maximum: 2 ** 31 - 1 });
const DiskNumber = Type.Integer({ minimum: 0, maximum: 1_000_000 });
/** Relative to the repository, with `/` between folders. */
const Path = Type.String({ minLength: 1, maxLength: 1_000 });
const Nullable = <T extends Parameters<typeof Type.Union>[0][number]>(schema: T) =>
  Type.Union([schema, Type.Null()]);

/** Longer lists would say nothing more. */
export const MAX_MERGED = 100;

const MergedPoint = Type.Object({ backup_id: Id, taken_at: Time, merged_at: Time });

const ManifestDisk = Type.Object({
  disk_id: Id,
  /** The `n` of `disk-<n>`. */
  disk_number: DiskNumber,
  /** VMware's device key. */
  disk_key: DiskKey,
  label: Text,
  backing_uuid: Text,
  backing_file: Text,
  capacity_bytes: Bytes,
  backup_type: Type.Union([Type.Literal('full'), Type.Literal('incremental')]),
  /** Why it is one or the other. */
  reason: Text,
  image: Path,
  image_format: Type.Literal('qcow2'),
  /** What the image file occupies. */
  stored_bytes: Bytes,
  /** Hashes of the blocks that were read. */
  hashes: Path,
  /** The backing file of the image; null for a full. */
  parent: Nullable(Type.Object({ backup_id: Id, image: Path })),
  /** Where the next changes start; null when the disk has no changed block tracking. */
  change_id: Nullable(Text),
  /** Where the list of what to read came from. */
  extent_source: Text,
  bytes_read: Bytes,
  bytes_written: Bytes,
  bytes_zeroed: Bytes,
  /** Of an incremental: blocks that changed block tracking called unchanged, and that were found so. */
  audited_blocks: Type.Optional(Type.Integer({ minimum: 0 })),
  /** The points whose data this image took over when they were removed, oldest first; the newest 100 of them. */
  merged: Type.Optional(Type.Array(MergedPoint, { maxItems: MAX_MERGED })),
});

/** How a point that is being removed is taken out of its chain: written before the first image changes. */
const Removal = Type.Object({
  /** Images changed, or files are gone, in a way that only goes forward. */
  irreversible: Type.Boolean(),
  merges: Type.Array(
    Type.Object({
      disk_number: DiskNumber,
      /** The point that takes the data over. */
      child_id: Id,
      method: Type.Union([Type.Literal('commit'), Type.Literal('pull')]),
      bytes: Bytes,
    }),
  ),
});

const Manifest = Type.Object({
  schema: Type.Literal(MANIFEST_SCHEMA),
  /** The build of the hub that wrote it. */
  engine: Text,
  /** Also the id of the restore point. */
  backup_id: Id,
  context_id: Id,
  repository_id: Id,
  node_name: Text,
  vm: Type.Object({ name: Text, instance_uuid: Text, moref: Text, guest_full_name: Text }),
  vcenter: Text,
  requested_type: Type.Union([Type.Literal('full'), Type.Literal('incremental')]),
  /** When the backup was asked for. */
  created_at: Time,
  /** The instant that it shows: its snapshot's creation. */
  taken_at: Time,
  sealed_at: Time,
  snapshot: Type.Object({ moref: Text, name: Text }),
  quiesce: Type.Object({ requested: Type.Boolean(), done: Type.Boolean(), note: Text }),
  /** `already_enabled`, `enabled_now`, `snapshots_exist`, … */
  change_tracking: Text,
  foreign_snapshots: Type.Integer({ minimum: 0 }),
  warnings: Type.Array(Type.Object({ code: Text, message: Text })),
  skipped_disks: Type.Array(
    Type.Object({ disk_number: DiskNumber, disk_key: DiskKey, label: Text, reason: Text }),
  ),
  disks: Type.Array(ManifestDisk, { minItems: 1, maxItems: 1_000 }),
  /** Only in a manifest that ends in `.removing`. */
  removal: Type.Optional(Removal),
});

export type ManifestRemoval = Static<typeof Removal>;
export type ManifestDisk = Static<typeof ManifestDisk>;
export type Manifest = Static<typeof Manifest>;

export function formatManifest(manifest: Manifest): string {
  return `${JSON.stringify(manifest, undefined, 2)}\n`;
}

/**
 * Reads a manifest, which somebody may have edited, cut or made up.
 *
 * @param where of it, for the message
 * @throws `manifest_invalid` naming what is wrong
 */
export function parseManifest(text: string, where: string): Manifest {
  const invalid = (why: string, cause?: unknown) =>
    new SendenseError('manifest_invalid', `${where} is not a manifest that this build can read: ${why}`, {
      context: { path: where },
      cause,
    });
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw invalid('it is not JSON', error);
  }
  if (!Value.Check(Manifest, value)) throw invalid(firstProblem(value));
  const problem = contradiction(value);
  if (problem !== undefined) throw invalid(problem);
  return value;
}

function firstProblem(value: unknown): string {
  const schema = typeof value === 'object' && value !== null && 'schema' in value ? value.schema : undefined;
  if (typeof schema !== 'string') return 'it names no schema';
  if (schema !== MANIFEST_SCHEMA)
    return `its schema is '${schema.slice(0, 100)}', expected ${MANIFEST_SCHEMA}`;
  const [error] = Value.Errors(Manifest, value);
  return error ? `${error.instancePath || '/'} ${error.message}` : 'it has another shape';
}

/** What the schema cannot say. */
function contradiction({ context_id, disks, created_at, taken_at, sealed_at }: Manifest): string | undefined {
  for (const time of [created_at, taken_at, sealed_at])
    if (Number.isNaN(Date.parse(time))) return `${time} is no time`;
  for (const field of ['disk_number', 'disk_key', 'disk_id', 'image', 'hashes'] as const)
    if (new Set(disks.map((disk) => disk[field])).size !== disks.length) return `two disks have one ${field}`;
  for (const disk of disks) {
    const { disk_number, backup_type, parent } = disk;
    const folder = `${context_id}/disk-${disk_number}/`;
    for (const path of [disk.image, disk.hashes, ...(parent ? [parent.image] : [])])
      if (!isPathBelow(folder, path)) return `${path} is not in ${folder}`;
    if (!disk.image.endsWith('.qcow2')) return `${disk.image} is not named as an image`;
    if ((backup_type === 'incremental') !== (parent !== null))
      return `disk ${disk_number} is ${backup_type} ${parent ? 'and has a parent' : 'without a parent'}`;
    if (parent?.image === disk.image) return `${disk.image} is its own parent`;
  }
  return undefined;
}

/** Whether it names a file directly in this folder of the repository, and nothing else. */
function isPathBelow(folder: string, path: string): boolean {
  const name = path.slice(folder.length);
  return (
    path.startsWith(folder) &&
    !isAbsolute(path) &&
    !folder.split('/').some((part) => part === '.' || part === '..') &&
    name !== '' &&
    name !== '.' &&
    name !== '..' &&
    !/[/\\\0]/.test(name)
  );
}
