import { TASK_KINDS, TASK_STATES, type TaskKind } from '@sendense/core';
import { fromJson, oneOf, present, toNumber } from './columns.js';
import type { Prisma } from './gen/sqlite/client.js';
import { errorFromJson, type StoredError } from './stored-error.js';

// What the table `tasks` holds, and from its rows to it.

export const TASK_SUBJECTS = ['restore_point', 'vm', 'repository'] as const;

export interface TaskSubject {
  readonly type: (typeof TASK_SUBJECTS)[number];
  /** Of the restore point, the VM's context or the repository; it may be gone by now. */
  readonly id: string;
}

/** Plain JSON. */
export type TaskArgs = Readonly<Record<string, string | number | boolean>>;
export type TaskResult = Readonly<Record<string, unknown>>;

export type TaskStatus =
  | { readonly state: 'queued' }
  | { readonly state: 'running'; readonly startedAt: Date }
  | {
      readonly state: 'completed';
      readonly startedAt: Date;
      readonly endedAt: Date;
      readonly result: TaskResult;
    }
  | {
      readonly state: 'failed';
      readonly startedAt: Date | undefined;
      readonly endedAt: Date;
      readonly error: StoredError;
      /** What it found or did before. */
      readonly result: TaskResult | undefined;
    }
  | {
      readonly state: 'cancelled';
      readonly startedAt: Date | undefined;
      readonly endedAt: Date;
      readonly result: TaskResult | undefined;
    };

export type TaskState = TaskStatus['state'];
export type TaskRecord = TaskStatus & {
  /** `task-<kind>-<YYYYMMDD-HHMMSS>`, `-2`, `-3` … appended when taken. */
  readonly id: string;
  readonly kind: TaskKind;
  readonly subject: TaskSubject;
  readonly args: TaskArgs;
  readonly requestedBy: string;
  readonly createdAt: Date;
  /** Somebody wants it to stop, and why; it may still go on to its end. */
  readonly cancelReason: string | undefined;
  /** undefined until it is known how much there is to do. */
  readonly progress: { readonly bytesDone: number; readonly bytesTotal: number } | undefined;
};

/**
 * What a caller may turn a task into. `queued` puts an interrupted one back for another try, `running` again takes it up
 * where it was.
 */
export type TaskStateChange =
  | { readonly state: 'queued' | 'running' }
  | { readonly state: 'completed'; readonly result: TaskResult }
  | { readonly state: 'failed'; readonly error: StoredError; readonly result?: TaskResult }
  | { readonly state: 'cancelled'; readonly result?: TaskResult };

export type TaskRow = Prisma.TaskGetPayload<object>;

export function toTaskRecord(row: TaskRow): TaskRecord {
  return {
    ...toStatus(row),
    id: row.id,
    kind: oneOf(TASK_KINDS, row.kind, 'kind of a task'),
    subject: { type: oneOf(TASK_SUBJECTS, row.subjectType, 'subject of a task'), id: row.subjectId },
    args: fromJson(row.args, 'the arguments of a task') as TaskArgs,
    requestedBy: row.requestedBy,
    createdAt: row.createdAt,
    cancelReason: row.cancelReason ?? undefined,
    progress:
      row.bytesTotal === null
        ? undefined
        : { bytesDone: toNumber(row.bytesDone ?? 0n), bytesTotal: toNumber(row.bytesTotal) },
  };
}

function toStatus(row: TaskRow): TaskStatus {
  const state = oneOf(TASK_STATES, row.state, 'state of a task');
  const startedAt = row.startedAt ?? undefined;
  const began = () => present(row.startedAt, 'when a task started');
  const ended = () => present(row.endedAt, 'when a task ended');
  const result =
    row.result === null ? undefined : (fromJson(row.result, 'the result of a task') as TaskResult);
  switch (state) {
    case 'queued':
      return { state };
    case 'running':
      return { state, startedAt: began() };
    case 'completed':
      return { state, startedAt: began(), endedAt: ended(), result: result ?? {} };
    case 'failed': {
      const error = errorFromJson(present(row.error, 'an error'));
      return { state, startedAt, endedAt: ended(), error, result };
    }
    default:
      return { state, startedAt, endedAt: ended(), result };
  }
}
