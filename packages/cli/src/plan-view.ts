import { printable } from '@sendense/core';
import type { BackupPlan } from './api-types.js';
import { facts, formatBytes, table } from './output.js';

/** What a backup would do: each disk with its reason, then what it needs against what is there, then what retention does. */
export function showPlan(plan: BackupPlan, tty: boolean): string {
  const disks = table(
    plan.disks,
    [
      { title: 'DISK', value: (disk) => disk.disk_number, align: 'right' },
      { title: 'KEY', value: (disk) => disk.disk_key, align: 'right' },
      { title: 'CAPACITY', value: (disk) => formatBytes(disk.capacity_bytes), align: 'right' },
      { title: 'TYPE', value: (disk) => disk.backup_type },
      { title: 'EXPECTED', value: (disk) => formatBytes(disk.expected_bytes), align: 'right' },
      { title: 'BUILDS ON', value: (disk) => disk.parent_point_id },
      { title: 'REASON', value: (disk) => disk.reason },
      { title: 'IN WORDS', value: (disk) => disk.reason_text },
    ],
    tty,
  );
  const { remove, merge_bytes: mergeBytes } = plan.retention;
  const needs = facts([
    ['vm', plan.vm_name],
    ['repository', plan.repository_id],
    ['expected to be read', formatBytes(plan.expected_bytes)],
    ['space', `${formatBytes(plan.space_needed_bytes)} needed, ${formatBytes(plan.available_bytes)} free`],
    ['NBD ports', `${plan.ports_needed} needed, ${plan.ports_free} free`],
    [
      'retention afterwards',
      remove.length === 0
        ? 'removes nothing'
        : `removes ${remove.length} restore points (${remove.join(', ')}), merging ${formatBytes(mergeBytes)} at most`,
    ],
  ]);
  return ['Nothing was started. This would be done:', disks, needs, warnings(plan)]
    .filter((part) => part !== '')
    .join('\n\n');
}

function warnings(plan: BackupPlan): string {
  const { space_needed_bytes: needed, available_bytes: free } = plan;
  return [
    ...plan.skipped_disks.map((disk) => `skipped disk ${disk.disk_key}: ${printable(disk.reason)}`),
    ...(needed > free ? [`warning: ${formatBytes(needed - free)} are missing in the repository`] : []),
    ...(plan.ports_needed > plan.ports_free ? ['warning: it will wait until enough NBD ports are free'] : []),
  ].join('\n');
}
