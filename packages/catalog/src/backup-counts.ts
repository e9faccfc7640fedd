import { ACTIVE_BACKUP_STATES, BACKUP_STATES } from '@sendense/core';
import type { BackupState } from './backup-records.js';
import type { Database } from './database.js';
import { counts } from './tallies.js';

/** How many backups are in each state: those that have ended are kept count of, the few others are counted. */
export async function countBackups(database: Database): Promise<Record<BackupState, number>> {
  const ended = await database.run((client) => counts(client, 'backups/'));
  const active = await database.run((client) =>
    client.backupJob.groupBy({
      by: ['state'],
      where: { state: { in: [...ACTIVE_BACKUP_STATES] } },
      _count: { _all: true },
    }),
  );
  const all = new Map([...ended, ...active.map(({ state, _count }) => [state, _count._all] as const)]);
  return Object.fromEntries(BACKUP_STATES.map((state) => [state, all.get(state) ?? 0])) as Record<
    BackupState,
    number
  >;
}
