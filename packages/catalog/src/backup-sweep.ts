import { FINAL_STATES } from '@sendense/core';
import type { Database } from './database.js';
import type { Prisma } from './gen/sqlite/client.js';

/** What a node did when it looked for snapshots that backups had left on a VM. */
export interface Sweep {
  readonly nodeName: string;
  /** A job whose end the node knows, whatever the catalogue says of it. */
  readonly endedJob?: string;
  /** Snapshots, by their moref. */
  readonly removed: readonly string[];
  /** Those that it could not remove. */
  readonly left: readonly string[];
}

/**
 * The snapshots that it removed are gone, and so are those of its own backups that have ended, but for the ones that it could
 * not remove. Some it had removed before, or somebody else had.
 */
export async function recordSweep(database: Database, contextId: string, sweep: Sweep): Promise<void> {
  const { nodeName, endedJob, removed, left } = sweep;
  const ended: Prisma.BackupJobWhereInput[] = [{ state: { in: [...FINAL_STATES] } }];
  if (endedJob !== undefined) ended.push({ id: endedJob });
  await database.run((client) =>
    client.backupJob.updateMany({
      where: {
        contextId,
        snapshotRemovedAt: null,
        OR: [
          { snapshotMoref: { in: [...removed] } },
          { nodeName, snapshotMoref: { not: null, notIn: [...left] }, OR: ended },
        ],
      },
      data: { snapshotRemovedAt: database.now() },
    }),
  );
}
