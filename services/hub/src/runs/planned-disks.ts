import type { PlannedDisk } from '@sendense/catalog';
import type { BackupPlan } from './types.js';

/** A plan as the catalogue records it, skipped disks included. */
export function plannedDisks({
  disks,
  skippedDisks,
}: Pick<BackupPlan, 'disks' | 'skippedDisks'>): PlannedDisk[] {
  return [
    ...disks.map((disk) => ({
      diskId: disk.diskId,
      backupType: disk.type,
      reason: disk.reason,
      ...(disk.type === 'incremental'
        ? { parentPointId: disk.parent.restorePointId, previousChangeId: disk.parent.changeId }
        : {}),
    })),
    ...skippedDisks.map(({ diskId, reason }) => ({
      diskId,
      backupType: 'full' as const,
      reason,
      skipped: true,
    })),
  ];
}
