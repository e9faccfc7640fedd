import { OwnedStack } from '@sendense/runtime';
import { ActiveBackupRuns } from './backup-runs.js';
import { DEFAULT_TIMING, type BackupRunsDependencies } from './dependencies.js';
import { PortPool } from './ports.js';
import { BackupQueue } from './queue.js';
import { Reaper } from './reaper.js';
import { reconcile } from './reconcile.js';
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
  BackupPreview,
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
  const timing = { ...DEFAULT_TIMING, ...dependencies.timing };
  const log = dependencies.log.child({ part: 'runs' });
  await using started = new OwnedStack(log);
  const reaper = started.use('reaper', new Reaper({ ...dependencies, timing, log }));
  await reconcile({ ...dependencies, reaper, log });
  reaper.start();
  const pool = new PortPool({ range: dependencies.config.nbdPorts, log });
  const { limits } = dependencies.config;
  const queue = new BackupQueue({ limits, pool, log, portRetryMs: timing.portRetryMs });
  // From here on the runs own the reaper.
  started.move();
  return new ActiveBackupRuns({ ...dependencies, timing, log, reaper, pool, queue });
}
