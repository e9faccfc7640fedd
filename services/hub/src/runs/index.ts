import { SendenseError } from '@sendense/core';
import type { BackupRunsDependencies } from './dependencies.js';
import type { BackupRuns } from './types.js';

export {
  DEFAULT_TIMING,
  type BackupRunsDependencies,
  type NodeAccess,
  type RepositoryAccess,
  type RunTiming,
  type UsableRepository,
} from './dependencies.js';
export type {
  BackupEvent,
  BackupHappening,
  BackupPlan,
  BackupProgress,
  BackupRequest,
  BackupRuns,
  PortDecision,
  PortLease,
  PortView,
  Progress,
  QueuedBackup,
  RunningBackup,
  TakenPort,
} from './types.js';

/**
 * Ends what an earlier hub process left behind, then takes backups. Call it after the catalogue is open and before any
 * other child process with this owner is started (the tunnel's workers too): it cannot tell them from orphans.
 */
export async function createBackupRuns(dependencies: BackupRunsDependencies): Promise<BackupRuns> {
  throw new SendenseError('internal', `not yet: ${dependencies.owner}`);
}
