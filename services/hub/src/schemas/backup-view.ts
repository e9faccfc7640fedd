import type { BackupDiskRecord, BackupRecord, StoredError, StoredWarning } from '@sendense/catalog';
import { PLAN_REASONS } from '@sendense/core';
import { formatNbdTargets } from '@sendense/nbd';
import type { Static } from 'typebox';
import type { BackupEvent, BackupPreview, BackupProgress, QueuedBackup } from '../runs/index.js';
import type { Backup, BackupPlan, Progress } from './backup.js';
import { iso } from './fields.js';

type ProgressView = Static<typeof Progress>;

/** What only the running hub knows of a backup. */
export interface LiveBackup {
  readonly progress: BackupProgress | undefined;
  readonly queued: QueuedBackup | undefined;
}

export function backupView(record: BackupRecord, live: LiveBackup): Static<typeof Backup> {
  const disks = record.disks.filter((disk) => disk.status !== 'skipped');
  const { snapshot } = record;
  return {
    backup_id: record.id,
    context_id: record.contextId,
    vm_name: record.vmName,
    repository_id: record.repositoryId,
    node_name: record.nodeName,
    backup_type: record.type,
    state: record.state,
    quiesce: record.quiesce,
    requested_by: record.requestedBy,
    created_at: record.createdAt.toISOString(),
    started_at: 'startedAt' in record ? iso(record.startedAt) : null,
    finished_at: 'endedAt' in record ? iso(record.endedAt) : null,
    disk_results: disks.map(diskResult),
    nbd_targets_string: nbdTargets(disks),
    skipped_disks: record.disks.flatMap((disk) =>
      disk.status === 'skipped' ? [{ ...diskFields(disk), reason: disk.reason }] : [],
    ),
    warnings: record.warnings.map(errorView),
    snapshot: snapshot
      ? {
          moref: snapshot.moref,
          name: snapshot.name,
          quiesced: snapshot.quiesced,
          quiesce_note: snapshot.quiesceNote ?? null,
          created_at: snapshot.createdAt.toISOString(),
          removed_at: iso(snapshot.removedAt),
        }
      : null,
    progress: live.progress ? progressView(live.progress) : recordedProgress(disks),
    queue: live.queued ? { position: live.queued.position, waiting_for: live.queued.waitingFor } : null,
    cancel_reason: 'cancelReason' in record ? record.cancelReason : null,
    restore_point_id: record.state === 'completed' ? record.restorePointId : null,
    error: record.state === 'failed' ? errorView(record.error) : null,
  };
}

export function planView(plan: BackupPreview): Static<typeof BackupPlan> {
  return {
    dry_run: true,
    context_id: plan.contextId,
    vm_name: plan.vmName,
    repository_id: plan.repositoryId,
    backup_type: plan.type,
    disks: plan.disks.map((disk) => ({
      disk_id: disk.diskId,
      disk_key: disk.key,
      disk_number: disk.number,
      label: disk.label,
      capacity_bytes: disk.capacityBytes,
      backup_type: disk.type,
      reason: disk.reason,
      reason_text: reasonInWords(disk.reason),
      expected_bytes: disk.expectedBytes,
      parent_point_id: disk.type === 'incremental' ? disk.parent.restorePointId : null,
    })),
    skipped_disks: plan.skippedDisks.map((disk) => ({
      disk_id: disk.diskId,
      disk_key: disk.key,
      disk_number: disk.number,
      label: disk.label,
      capacity_bytes: disk.capacityBytes,
      reason: disk.reason,
    })),
    expected_bytes: plan.expectedBytes,
    ports_needed: plan.ports,
    ports_free: plan.portsFree,
    space_needed_bytes: plan.spaceNeededBytes,
    available_bytes: plan.availableBytes,
    retention: { remove: [...plan.retention.remove], merge_bytes: plan.retention.mergeBytes },
  };
}

/** The data of one server-sent event. */
export function eventView(event: BackupEvent): Record<string, unknown> {
  return { at: event.at.toISOString(), ...happeningView(event) };
}

function happeningView(event: BackupEvent): Record<string, unknown> {
  switch (event.type) {
    case 'state':
      return { state: event.state, error: event.error ? errorView(event.error) : null };
    case 'disk':
      return { disk_key: event.diskKey, status: event.status, ...(event.full ? fullView(event.full) : {}) };
    case 'snapshot_created':
      return { moref: event.moref, quiesced: event.quiesced };
    case 'snapshot_removed':
      return { moref: event.moref };
    case 'progress':
      return progressView(event.progress);
    default:
      return errorView(event.warning);
  }
}

/** A disk that was planned as an incremental, and what it is now. */
function fullView({ reason, detail }: { readonly reason: string; readonly detail: string }) {
  return { backup_type: 'full', reason, reason_detail: detail || reasonInWords(reason) };
}

function diskFields(disk: BackupDiskRecord) {
  return {
    disk_id: disk.diskId,
    disk_key: disk.diskKey,
    disk_number: disk.diskNumber,
    label: disk.label,
    capacity_bytes: disk.capacityBytes,
  };
}

function diskResult(disk: BackupDiskRecord): Static<typeof Backup>['disk_results'][number] {
  return {
    ...diskFields(disk),
    backup_type: disk.backupType,
    reason: disk.reason,
    reason_detail: disk.reasonDetail ?? reasonInWords(disk.reason),
    nbd_port: 'nbdPort' in disk ? (disk.nbdPort ?? null) : null,
    nbd_export_name: 'nbdExportName' in disk ? (disk.nbdExportName ?? null) : null,
    qcow2_path: 'qcow2Path' in disk ? (disk.qcow2Path ?? null) : null,
    qemu_nbd_pid: 'qemuNbdPid' in disk ? (disk.qemuNbdPid ?? null) : null,
    audited_blocks: disk.auditedBlocks ?? null,
    status: disk.status,
    error: disk.status === 'failed' ? errorView(disk.error) : null,
  };
}

/** `2000:nbd://127.0.0.1:10100/pgtest1-disk0,…` of the disks that have a target. */
function nbdTargets(disks: readonly BackupDiskRecord[]): string {
  return formatNbdTargets(
    disks
      .toSorted((a, b) => a.diskKey - b.diskKey)
      .flatMap((disk) => {
        if (!('nbdPort' in disk) || disk.nbdPort === undefined || disk.nbdExportName === undefined) return [];
        const address = { kind: 'tcp', host: '127.0.0.1', port: disk.nbdPort } as const;
        return [{ diskKey: disk.diskKey, address, exportName: disk.nbdExportName }];
      }),
  );
}

function progressView({ disks, ...total }: BackupProgress): ProgressView {
  const view = (part: Omit<BackupProgress, 'disks'>) => ({
    bytes_done: part.bytesDone,
    bytes_total: part.bytesTotal,
    bytes_per_second: Math.round(part.bytesPerSecond),
    seconds_left: part.secondsLeft === undefined ? null : Math.round(part.secondsLeft),
  });
  return { ...view(total), disks: disks.map((disk) => ({ disk_key: disk.diskKey, ...view(disk) })) };
}

/** Of a backup that waits or has ended: the last that was recorded. */
function recordedProgress(disks: readonly BackupDiskRecord[]): ProgressView {
  const sum = (field: 'bytesDone' | 'bytesTotal') => disks.reduce((total, disk) => total + disk[field], 0);
  const still = { bytes_per_second: null, seconds_left: null };
  return {
    bytes_done: sum('bytesDone'),
    bytes_total: sum('bytesTotal'),
    ...still,
    disks: disks.map((disk) => ({
      disk_key: disk.diskKey,
      bytes_done: disk.bytesDone,
      bytes_total: disk.bytesTotal,
      ...still,
    })),
  };
}

function errorView({ code, message, context }: StoredError | StoredWarning) {
  return { code, message, context: { ...context } };
}

function reasonInWords(reason: string): string {
  const words: Readonly<Record<string, string>> = PLAN_REASONS;
  return Object.hasOwn(words, reason) ? (words[reason] ?? reason) : reason;
}
