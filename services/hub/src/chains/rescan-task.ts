import type { Catalog, TaskResult } from '@sendense/catalog';
import type { RepositoryAccess } from '../runs/index.js';
import type { TaskHandler, TaskRequest } from '../tasks/types.js';
import type { ChainLocks } from './locks.js';
import { removePoint, type RemovalPorts } from './remove-point.js';
import { rescan, type RescanReport } from './rescan.js';

export interface RescanTaskDependencies {
  readonly catalog: Catalog;
  readonly repositories: RepositoryAccess;
  readonly locks: ChainLocks;
  readonly removal: RemovalPorts;
}

export function rescanTask(repositoryId: string, requestedBy: string): TaskRequest {
  return {
    kind: 'rescan',
    subject: { type: 'repository', id: repositoryId },
    args: { repository_id: repositoryId },
    requestedBy,
  };
}

/** Task `rescan`. It takes the lock of one VM after the other, so that it holds up as little as it can. */
export function rescanHandler({
  catalog,
  repositories,
  locks,
  removal,
}: RescanTaskDependencies): TaskHandler {
  return {
    resume: false,
    lock: () => undefined,
    run: async ({ id: holderId, subject: { id: repositoryId } }, { signal, log }) => {
      const repository = await repositories.usable(repositoryId);
      const onWaiting = (waitingFor: string) => log.info({ waitingFor }, 'the rescan waits for a chain');
      const lock = (contextId: string, mode: 'shared' | 'exclusive') =>
        locks.acquire({ contextId, repositoryId, mode, purpose: 'rescan', holderId }, { signal, onWaiting });
      const report = await rescan({
        ...{ repository, catalog, signal },
        lock: (contextId) => lock(contextId, 'shared'),
        finishRemoval: async ({ id, contextId }) => {
          await using _ = await lock(contextId, 'exclusive');
          // What it copies is part of the rescan, and whether it can be stopped is its own affair.
          await removePoint(id, removal, { signal, log, progress: () => undefined, commit: () => undefined });
        },
      });
      const result = resultOf(report);
      log.info(result['counts'], 'repository scanned');
      return result;
    },
  };
}

/** The lists end after 1000; the counts do not. */
function resultOf(report: RescanReport): TaskResult & { readonly counts: Record<string, number> } {
  const { added, known, missing, strangers, damaged, partial, removalsFinished } = report;
  return {
    points_added: added.first,
    points_known: known.first,
    points_missing: missing.first,
    strangers: strangers.first,
    damaged: damaged.first,
    partial: partial.first,
    removals_finished: removalsFinished.first,
    counts: {
      points_added: added.count,
      points_known: known.count,
      points_missing: missing.count,
      strangers: strangers.count,
      damaged: damaged.count,
      partial: partial.count,
      removals_finished: removalsFinished.count,
    },
  };
}
