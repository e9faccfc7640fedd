import type { Catalog } from '@sendense/catalog';
import type { Logger } from '@sendense/runtime';
import type { TunnelServer } from '@sendense/tunnel';
import type { AuditTrail } from './audit-trail.js';
import type { ChainLocks } from './chains/locks.js';
import type { HubConfig } from './config.js';
import type { ExportDirectory } from './exports/export-directory.js';
import type { Metrics } from './metrics.js';
import type { Nodes } from './nodes/nodes.js';
import type { Repositories } from './repositories/repositories.js';
import type { Retention } from './retention/retention.js';
import type { BackupRuns } from './runs/index.js';
import type { Tasks } from './tasks/index.js';
import type { Vcenters } from './vcenters/vcenters.js';

/** What the hub's parts work with, passed to each explicitly. */
export interface HubContext {
  readonly config: HubConfig;
  readonly log: Logger;
  readonly catalog: Catalog;
  readonly repositories: Repositories;
  readonly nodes: Nodes;
  readonly vcenters: Vcenters;
  readonly runs: BackupRuns;
  readonly tasks: Tasks;
  readonly retention: Retention;
  readonly exports: ExportDirectory;
  readonly locks: ChainLocks;
  readonly tunnel: TunnelServer;
  readonly audit: AuditTrail;
  readonly metrics: Metrics;
  readonly startedAt: Date;
  /** Aborted when the hub begins to stop: what would hold it up (streams of events) ends. */
  readonly stopping: AbortSignal;
}
