import type { Logger } from '@sendense/runtime';
import type { NodeConfig } from '../config.js';
import type { Enrolment } from '../enrolment/enrolment.js';
import type { JobRegistry } from '../jobs/job-registry.js';
import type { NodeChecks } from '../preflight/node-checks.js';

/** What the calls of NodeService work with. */
export interface RpcContext {
  readonly config: NodeConfig;
  readonly enrolment: Enrolment;
  readonly jobs: JobRegistry;
  readonly checks: NodeChecks;
  /** The mark of child processes. */
  readonly owner: string;
  readonly startedAt: Date;
  readonly log: Logger;
}
