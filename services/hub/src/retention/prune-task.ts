import type { Catalog, ChainRef, RestorePointRecord, TaskResult } from '@sendense/catalog';
import { SendenseError, throwIfAborted, toSendenseError } from '@sendense/core';
import { removePoint, type RemovalPorts, type RemovalWork } from '../chains/remove-point.js';
import { textArgument } from '../chains/remove-task.js';
import type { TaskContext, TaskHandler, TaskRequest } from '../tasks/types.js';
import { removalCosts } from './removal-costs.js';
import { planRetention } from './retention-plan.js';

export interface PrunePorts extends RemovalPorts {
  readonly catalog: Catalog;
  /** For the tests that end there. @default removePoint */
  readonly remove?: (pointId: string, ports: RemovalPorts, work: RemovalWork) => Promise<unknown>;
}

export function pruneRequest({ contextId, repositoryId }: ChainRef, requestedBy: string): TaskRequest {
  return {
    kind: 'prune',
    subject: { type: 'vm', id: contextId },
    args: { context_id: contextId, repository_id: repositoryId },
    requestedBy,
  };
}

/**
 * Task `prune`: removes what the policy in force lets go, in the order that costs least (see removalOrder). What is to go is decided when it runs, not when it was asked for; after a restart it is decided again.
 */
export function pruneHandler(ports: PrunePorts): TaskHandler {
  const chainOf = (task: Parameters<TaskHandler['lock']>[0]) => ({
    contextId: textArgument(task, 'context_id'),
    repositoryId: textArgument(task, 'repository_id'),
  });
  return {
    resume: true,
    lock: (task) => ({ ...chainOf(task), mode: 'exclusive' }),
    run: (task, context) => prune(chainOf(task), ports, context),
  };
}

async function prune(
  { contextId, repositoryId }: ChainRef,
  ports: PrunePorts,
  context: TaskContext,
): Promise<TaskResult> {
  const { signal, log } = context;
  const { points, toRemove, blocked } = await planRetention(ports.catalog, contextId, repositoryId);
  const costs = removalCosts(
    points.map(({ point }) => point),
    toRemove.map(({ id }) => id),
    Infinity,
  );
  const bytesOf = (count: number) =>
    costs.slice(0, count).reduce((sum, { bytesToCopy }) => sum + bytesToCopy, 0);
  const total = bytesOf(costs.length);
  const outcome = new Outcome(points.filter(({ decision }) => decision.keep).map(({ point }) => point.id));
  for (const { point, reason } of blocked)
    outcome.add(point, new SendenseError('restore_point_suspect', `${point.id} stays: ${reason}`));
  for (const [index, point] of toRemove.entries()) {
    throwIfAborted(signal);
    const progress = (done: number) =>
      context.progress(Math.min(bytesOf(index) + done, bytesOf(index + 1)), total);
    progress(0);
    try {
      await (ports.remove ?? removePoint)(point.id, ports, removalWork(context, progress));
      outcome.removed.push(point.id);
    } catch (thrown) {
      // A removal that was stopped has left everything as it can be left.
      throwIfAborted(signal);
      const error = toSendenseError(thrown);
      outcome.add(point, error);
      const { code, message } = error;
      log.warn(
        { restorePointId: point.id, code, error: message },
        'a point cannot be removed; the others are',
      );
    }
    context.soFar(outcome.toResult());
  }
  context.progress(total, total);
  return outcome.toResult();
}

/**
 * A removal that can only go forward is finished even when the task is cancelled; the points after it are left then. So
 * the task as a whole can always be cancelled.
 */
function removalWork({ signal, log }: TaskContext, progress: (bytesDone: number) => void): RemovalWork {
  return { signal, log, progress, commit: () => undefined };
}

class Outcome {
  readonly removed: string[] = [];
  readonly failed: { readonly restore_point_id: string; readonly code: string; readonly detail: string }[] =
    [];

  constructor(private readonly kept: string[]) {}

  add(point: RestorePointRecord, { code, message }: SendenseError): void {
    // Held since the decision, or removed by somebody else meanwhile: that is no failure.
    if (code === 'restore_point_held') this.kept.push(point.id);
    else if (code === 'not_found') this.removed.push(point.id);
    else this.failed.push({ restore_point_id: point.id, code, detail: message });
  }

  toResult(): TaskResult {
    return { removed: [...this.removed], failed: [...this.failed], kept: [...this.kept] };
  }
}
