import { printable } from '@sendense/core';
import type { RetentionPolicy, RetentionPreview } from './api-types.js';
import { formatBytes, table } from './output.js';

const RULES = [
  ['keep_last', 'the last'],
  ['daily', 'daily'],
  ['weekly', 'weekly'],
  ['monthly', 'monthly'],
  ['yearly', 'yearly'],
] as const satisfies readonly (readonly [keyof RetentionPolicy, string])[];

/** `the last 3, 7 daily, 4 weekly (days of Europe/Berlin)` */
export function policyText(policy: RetentionPolicy | null): string {
  if (!policy) return 'none: every restore point is kept';
  const counts = RULES.flatMap(([rule, words]) => {
    if (policy[rule] === 0) return [];
    return rule === 'keep_last' ? `${words} ${policy[rule]}` : `${policy[rule]} ${words}`;
  });
  const zone = policy.time_zone ? printable(policy.time_zone) : 'UTC';
  return `${counts.join(', ') || 'nothing but the newest'} (days of ${zone})`;
}

const SOURCES: Readonly<Record<string, string>> = {
  vm: "the VM's own",
  repository: "the repository's default",
};

/** What a policy keeps, and why, and what removing the rest costs. */
export function showPreview(preview: RetentionPreview, tty: boolean): string {
  const points = table(
    preview.points,
    [
      { title: 'RESTORE POINT', value: (row) => row.restore_point_id },
      { title: 'TAKEN', value: (row) => row.taken_at },
      { title: 'TYPE', value: (row) => row.backup_type },
      { title: 'STATE', value: (row) => (row.suspect ? 'SUSPECT' : 'sealed') },
      { title: 'ACTION', value: (row) => (row.blocked ? 'STAYS' : row.action) },
      { title: 'BECAUSE', value: (row) => reasons(row.reasons) },
      { title: 'MERGE', value: (row) => row.removal?.methods.join(', ') },
      { title: 'COPIES', value: (row) => bytesOf(row.removal?.bytes_to_copy), align: 'right' },
      { title: 'FREES', value: (row) => bytesOf(row.removal?.bytes_freed), align: 'right' },
    ],
    tty,
  );
  const source = SOURCES[preview.policy_source];
  const head = `policy: ${policyText(preview.policy)}${source === undefined ? '' : `, ${source}`}`;
  const summary =
    preview.remove_count === 0
      ? 'Nothing would be removed.'
      : `${preview.remove_count} of ${preview.points.length} would be removed: ${formatBytes(preview.bytes_freed)} freed, ${formatBytes(preview.bytes_to_copy)} copied at most.`;
  const blocked = preview.points.flatMap(({ restore_point_id: id, blocked: why }) =>
    why ? [`warning: ${printable(id)} should go and cannot: ${printable(why)}`] : [],
  );
  const tight = preview.points.filter(({ removal }) => removal?.fits === false);
  const warning = tight.map(
    (row) => `warning: there is no room now to merge ${printable(row.restore_point_id)}`,
  );
  return [
    head,
    preview.points.length === 0 ? 'There is no restore point yet.' : points,
    summary,
    ...blocked,
    ...warning,
  ].join('\n\n');
}

function reasons(given: RetentionPreview['points'][number]['reasons']): string {
  return given.map(({ reason, detail }) => (detail === '' ? reason : `${reason} ${detail}`)).join(', ');
}

function bytesOf(bytes: number | undefined): string | undefined {
  return bytes === undefined ? undefined : formatBytes(bytes);
}
