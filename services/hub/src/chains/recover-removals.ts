import type { Catalog } from '@sendense/catalog';
import { toSendenseError } from '@sendense/core';
import type { Logger } from '@sendense/runtime';
import type { Tasks } from '../tasks/types.js';
import { removalRequest } from './remove-task.js';

export interface RemovalRecoveryOptions {
  readonly catalog: Pick<Catalog, 'restorePoints' | 'tasks'>;
  readonly tasks: Pick<Tasks, 'start'>;
  readonly log: Logger;
  /** @default an hour */
  readonly everyMs?: number;
}

const HOUR_MS = 3_600_000;

/**
 * A removal that was decided is finished, whatever has become of its task: at the start, and now and then for those that
 * failed on the way (the repository was full, or away). They wait as tasks of their own, so that everybody sees them.
 */
export class RemovalRecovery implements AsyncDisposable {
  #timer: NodeJS.Timeout | undefined;
  #looking: Promise<void> = Promise.resolve();

  constructor(private readonly options: RemovalRecoveryOptions) {}

  /** Looks at once, and returns when what is unfinished has been queued. */
  async start(): Promise<void> {
    this.#timer = setInterval(() => void this.look(), this.options.everyMs ?? HOUR_MS).unref();
    await this.look();
  }

  /** Never rejects. */
  look(): Promise<void> {
    this.#looking = this.#looking.then(() => this.#look());
    return this.#looking;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    await this.#looking;
  }

  async #look(): Promise<void> {
    const { catalog, tasks, log } = this.options;
    try {
      const points = await catalog.restorePoints.removing();
      const busy = await catalog.tasks.unfinished();
      for (const point of points) {
        // Any removal in a chain finishes those that were left there.
        const cared = busy.some(
          ({ kind, args, subject }) =>
            (kind === 'remove' || kind === 'prune') &&
            (subject.id === point.id ||
              (args['context_id'] === point.contextId && args['repository_id'] === point.repositoryId)),
        );
        if (cared) continue;
        const task = await tasks.start(removalRequest(point, 'hub'));
        log.warn({ restorePointId: point.id, taskId: task.id }, 'a removal that was not finished goes on');
      }
    } catch (error) {
      log.error({ error: toSendenseError(error).message }, 'unfinished removals could not be looked for');
    }
  }
}
