import type { RestorePointRecord, TaskRecord } from '@sendense/catalog';
import { SendenseError, toSendenseError } from '@sendense/core';
import type { TaskHandler, TaskRequest } from '../tasks/types.js';
import { removePoint, type RemovalPorts } from './remove-point.js';

/** The removal of one restore point, to be started as a task. */
export function removalRequest(point: RestorePointRecord, requestedBy: string): TaskRequest {
  const { id, contextId, repositoryId } = point;
  return {
    kind: 'remove',
    subject: { type: 'restore_point', id },
    args: { context_id: contextId, repository_id: repositoryId },
    requestedBy,
  };
}

/** Tasks of the kind `remove`. */
export function removalTask(ports: RemovalPorts): TaskHandler {
  return {
    resume: true,
    lock: (task) => ({
      contextId: textArgument(task, 'context_id'),
      repositoryId: textArgument(task, 'repository_id'),
      mode: 'exclusive',
    }),
    run: async ({ subject }, context) => {
      try {
        return { ...(await removePoint(subject.id, ports, context)) };
      } catch (error) {
        // It was finished, and the hub ended before it could say so; or another task was faster.
        if (
          toSendenseError(error).code === 'not_found' &&
          !(await ports.catalog.restorePoints.find(subject.id))
        )
          return { restore_point_id: subject.id, merged_into: [], bytes_merged: 0 };
        throw error;
      }
    },
  };
}

/** @throws `catalog_damaged` for what this build did not write */
export function textArgument({ id, args }: TaskRecord, name: string): string {
  const value = args[name];
  if (typeof value === 'string') return value;
  throw new SendenseError('catalog_damaged', `the task ${id} has no ${name}`, { context: { task_id: id } });
}
