import type { Catalog, ChainRef, TaskRecord } from '@sendense/catalog';
import { toSendenseError } from '@sendense/core';
import type { Logger } from '@sendense/runtime';
import type { Tasks } from '../tasks/types.js';
import { pruneRequest } from './prune-task.js';
import { planRetention } from './retention-plan.js';

export interface RetentionOptions {
  readonly catalog: Pick<Catalog, 'retention' | 'restorePoints' | 'tasks'>;
  readonly tasks: Pick<Tasks, 'start'>;
  readonly log: Logger;
}

/** Applies the policies: when somebody asks, and after each backup. */
export class Retention {
  constructor(private readonly options: RetentionOptions) {}

  /** Queues the removal of what the policy lets go; one that waits already will see everything that this one would. */
  async apply(chain: ChainRef, requestedBy: string): Promise<TaskRecord> {
    const { catalog, tasks } = this.options;
    const waiting = (await catalog.tasks.unfinished()).find(
      ({ kind, state, args }) =>
        kind === 'prune' &&
        state === 'queued' &&
        args['context_id'] === chain.contextId &&
        args['repository_id'] === chain.repositoryId,
    );
    return waiting ?? tasks.start(pruneRequest(chain, requestedBy));
  }

  /** To be called after a backup has completed. Never rejects: the backup is good, whatever becomes of this. */
  async afterBackup(contextId: string, repositoryId: string): Promise<void> {
    const { catalog, log } = this.options;
    try {
      const { effective, toRemove } = await planRetention(catalog, contextId, repositoryId);
      if (effective.source === 'none' || toRemove.length === 0) return;
      await this.apply({ contextId, repositoryId }, 'retention');
    } catch (error) {
      const { code, message } = toSendenseError(error);
      log.error({ contextId, repositoryId, code, error: message }, 'retention could not be applied');
    }
  }
}
