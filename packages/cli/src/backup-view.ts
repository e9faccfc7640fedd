import { printable } from '@sendense/core';
import type { Backup, Progress } from './api-types.js';
import { facts, formatBytes, formatDuration, progressBar, table } from './output.js';

/** A backup with its disks, warnings and error. */
export function showBackup(backup: Backup, tty: boolean): string {
  const disks = table(
    backup.disk_results,
    [
      { title: 'DISK', value: (disk) => disk.disk_number, align: 'right' },
      { title: 'KEY', value: (disk) => disk.disk_key, align: 'right' },
      { title: 'CAPACITY', value: (disk) => formatBytes(disk.capacity_bytes), align: 'right' },
      { title: 'TYPE', value: (disk) => disk.backup_type },
      { title: 'REASON', value: (disk) => disk.reason },
      { title: 'AUDITED', value: (disk) => disk.audited_blocks, align: 'right' },
      { title: 'PORT', value: (disk) => disk.nbd_port, align: 'right' },
      { title: 'PID', value: (disk) => disk.qemu_nbd_pid, align: 'right' },
      { title: 'STATUS', value: (disk) => disk.status },
      { title: 'FILE', value: (disk) => disk.qcow2_path },
    ],
    tty,
  );
  const head = facts([
    ['backup', backup.backup_id],
    ['vm', backup.vm_name],
    ['repository', backup.repository_id],
    ['type', backup.backup_type],
    ['state', backup.state],
    ['started', backup.started_at],
    ['finished', backup.finished_at],
    ['progress', backup.progress ? progressLine(backup) : undefined],
    ['error', backup.error ? `${backup.error.message} [${backup.error.code}]` : undefined],
  ]);
  return [head, disks, notes(backup)].filter((part) => part !== '').join('\n\n');
}

/** Skipped disks and warnings, a line each. */
export function notes(backup: Backup): string {
  return [
    ...(backup.skipped_disks ?? []).map((disk) => `skipped disk ${disk.disk_key}: ${printable(disk.reason)}`),
    ...(backup.warnings ?? []).map((warning) => `warning: ${printable(warning.message)} [${warning.code}]`),
  ].join('\n');
}

/** `[####----]  50 %  1.0 GiB of 2.0 GiB  300.0 MiB/s  0:03 left` */
export function progressLine(backup: Backup): string {
  const { progress } = backup;
  if (!progress) return backup.state;
  if (backup.state === 'completed' && progress.bytes_total === 0)
    return 'nothing to copy: the disks are empty';
  return amountOf(progress);
}

/** Piped: a line for each disk and one for the whole; none until it is known how much there is to do. */
export function progressLines(backup: Backup): string[] {
  if (!backup.progress) return [];
  const disks = (backup.progress.disks ?? []).map((disk) => `disk ${disk.disk_key}\t${amountOf(disk)}`);
  return [...disks, `total\t${progressLine(backup)}`];
}

/** The lines of a live view: one for each disk and one for the whole. */
export function liveView(backup: Backup): string {
  const disks = (backup.progress?.disks ?? []).map((disk) => `  disk ${disk.disk_key}  ${amountOf(disk)}`);
  return [`${backup.backup_id}  ${backup.state}`, ...disks, `  total      ${progressLine(backup)}`].join(
    '\n',
  );
}

function amountOf(progress: Progress): string {
  const { bytes_done: done, bytes_total: total, bytes_per_second: rate, seconds_left: left } = progress;
  const parts = [progressBar(done, total), `${formatBytes(done)} of ${formatBytes(total)}`];
  if (rate) parts.push(`${formatBytes(rate)}/s`);
  if (left !== undefined && left !== null && done < total) parts.push(`${formatDuration(left)} left`);
  return parts.join('  ');
}
