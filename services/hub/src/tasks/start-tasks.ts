import type { Catalog } from '@sendense/catalog';
import { QemuImg } from '@sendense/qemu';
import type { Logger, OwnedStack } from '@sendense/runtime';
import type { AuditTrail } from '../audit-trail.js';
import type { ChainLocks } from '../chains/locks.js';
import { RemovalRecovery } from '../chains/recover-removals.js';
import { removalTask } from '../chains/remove-task.js';
import { rescanHandler } from '../chains/rescan-task.js';
import { verifyHandler } from '../chains/verify-task.js';
import type { HubConfig } from '../config.js';
import type { ExportDirectory } from '../exports/export-directory.js';
import { exportHandler } from '../exports/export-task.js';
import { pruneHandler } from '../retention/prune-task.js';
import type { RepositoryAccess } from '../runs/index.js';
import { TaskRunner } from './runner.js';
import type { Tasks } from './types.js';

export interface TasksDependencies {
  readonly config: Pick<HubConfig, 'maxTasks' | 'qemuImg' | 'qemuNbd' | 'runtimeDirectory'>;
  readonly catalog: Catalog;
  readonly locks: ChainLocks;
  readonly audit: AuditTrail;
  readonly repositories: RepositoryAccess;
  readonly exports: ExportDirectory;
  /** See ownerMark. */
  readonly owner: string;
  readonly log: Logger;
}

/** All kinds of tasks. Unfinished ones go on from here: call it when nothing of an earlier hub is left running. */
export async function startTasks(dependencies: TasksDependencies, acquired: OwnedStack): Promise<Tasks> {
  const { config, catalog, locks, audit, repositories, exports: directory, owner } = dependencies;
  const log = dependencies.log.child({ part: 'tasks' });
  const images = new QemuImg({ command: config.qemuImg, owner, log });
  const tasks = acquired.use(
    'tasks',
    new TaskRunner({ catalog, locks, audit, log, maxTasks: config.maxTasks }),
  );
  const removal = { catalog, repositories, images };
  const { qemuImg, qemuNbd, runtimeDirectory } = config;
  const tools = { qemuImg, qemuNbd, runtimeDirectory, owner };
  tasks.register('remove', removalTask(removal));
  tasks.register('prune', pruneHandler(removal));
  tasks.register('verify', verifyHandler({ catalog, repositories, tools }));
  tasks.register('export', exportHandler({ catalog, repositories, directory, tools }));
  tasks.register('rescan', rescanHandler({ catalog, repositories, locks, removal }));
  await directory.sweep(log);
  await tasks.begin();
  const recovery = acquired.use('unfinished removals', new RemovalRecovery({ catalog, tasks, log }));
  await recovery.start();
  return tasks;
}
