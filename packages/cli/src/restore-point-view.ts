import { printable } from '@sendense/core';
import type { RestorePoint } from './api-types.js';
import { facts, formatBytes, table, type Column } from './output.js';

export const POINT_COLUMNS: readonly Column<RestorePoint>[] = [
  { title: 'RESTORE POINT', value: (row) => row.restore_point_id },
  { title: 'VM', value: (row) => row.vm_name },
  { title: 'TYPE', value: (row) => row.backup_type },
  { title: 'TAKEN', value: (row) => row.taken_at },
  { title: 'STATE', value: stateOf },
  { title: 'VERIFIED', value: verified },
  { title: 'HELD', value: (row) => row.hold_reason },
  { title: 'DISKS', value: (row) => row.disks.length, align: 'right' },
  { title: 'STORED', value: (row) => formatBytes(row.stored_bytes), align: 'right' },
  { title: 'REPOSITORY', value: (row) => row.repository_id },
];

/** What must not be overlooked in a list; nothing when all is well. */
export function suspectNotes(points: readonly RestorePoint[]): string[] {
  return points
    .filter(({ suspect }) => suspect)
    .map(
      (point) =>
        `SUSPECT: ${printable(point.restore_point_id)} may not hold what it should: ${firstLine(point.suspect_reason)}`,
    );
}

/** One restore point and the images it is made of. */
export function showPoint(point: RestorePoint, tty: boolean): string {
  const disks = table(
    point.disks,
    [
      { title: 'DISK', value: (disk) => disk.disk_number, align: 'right' },
      { title: 'KEY', value: (disk) => disk.disk_key, align: 'right' },
      { title: 'TYPE', value: (disk) => disk.backup_type },
      { title: 'CAPACITY', value: (disk) => formatBytes(disk.capacity_bytes), align: 'right' },
      { title: 'STORED', value: (disk) => formatBytes(disk.stored_bytes), align: 'right' },
      { title: 'BUILDS ON', value: (disk) => disk.parent_point_id },
      { title: 'IMAGE', value: (disk) => disk.image_path },
    ],
    tty,
  );
  const head = facts([
    ['restore point', point.restore_point_id],
    ['vm', point.vm_name],
    ['repository', point.repository_id],
    ['type', point.backup_type],
    ['taken', point.taken_at],
    ['sealed', point.sealed_at],
    ['state', stateOf(point)],
    ['verified', verified(point) ?? 'never'],
    ['held', point.held_at ? `${point.hold_reason ?? ''} (since ${point.held_at})` : undefined],
    ['quiesced', point.quiesced ? 'yes' : 'no'],
    ['manifest', point.manifest_path],
  ]);
  // Most often they are the reason of the doubt, which is said first.
  const told = point.suspect && point.verification_detail === point.suspect_reason;
  const findings =
    point.verification === 'failed' && !told ? block('findings', point.verification_detail) : '';
  return [suspectBlock(point), head, findings, disks].filter((part) => part !== '').join('\n\n');
}

function stateOf({ state, suspect }: RestorePoint): string {
  if (!suspect) return state;
  return state === 'sealed' ? 'SUSPECT' : `SUSPECT, ${state}`;
}

/** `passed 2026-11-21T08:43:16Z`, with `(structure only)` after a quick one. */
function verified(point: RestorePoint): string | undefined {
  if (!point.verification) return undefined;
  const outcome = point.verification === 'failed' ? 'FAILED' : point.verification;
  return `${outcome} ${point.verified_at ?? ''}${point.verified_full ? '' : ' (structure only)'}`;
}

function suspectBlock(point: RestorePoint): string {
  if (!point.suspect) return '';
  const why = block('*** SUSPECT: this restore point may not hold what it should', point.suspect_reason);
  const id = printable(point.restore_point_id);
  return `${why}\n*** Verify it with 'sendense restore-point verify ${id}': one that passes takes this mark away.`;
}

/** A title and the lines of a text that the hub made of several. */
function block(title: string, text: string | null | undefined): string {
  if (!text) return title;
  return [`${title}:`, ...text.split('\n').map((line) => `  ${printable(line)}`)].join('\n');
}

function firstLine(text: string | null | undefined): string {
  const [first = ''] = (text ?? '').split('\n');
  return printable(first === '' ? 'no reason is recorded' : first);
}
