import { TASK_SUBJECTS, type TaskRecord } from '@sendense/catalog';
import { TASK_KINDS, TASK_STATES } from '@sendense/core';
import { Type, type Static } from 'typebox';
import { textFormat } from '../api/validation.js';
import type { QueuedTask } from '../tasks/index.js';
import { Bytes, Exactly, Id, iso, NextCursor, Nullable, NullableInput, pageQuery, Time } from './fields.js';

const Kind = Type.Enum([...TASK_KINDS], {
  description:
    '`verify` reads a restore point and compares its hashes; `export` writes its disks to files; `remove` takes one out of its chain; `prune` removes what a retention policy lets go; `rescan` reads the manifests of a repository',
});
const State = Type.Enum([...TASK_STATES]);
const SubjectType = Type.Enum([...TASK_SUBJECTS]);

export const Task = Type.Object(
  {
    task_id: Type.String({ examples: ['task-remove-20261121-101550'] }),
    kind: Kind,
    subject_type: SubjectType,
    subject_id: Type.String({ description: 'of the restore point, the VM (`context_id`) or the repository' }),
    state: State,
    requested_by: Type.String({ examples: ['token:tok-f0822ed58426', 'schedule'] }),
    created_at: Time('when it was asked for'),
    started_at: Nullable(Time('when it began to run')),
    ended_at: Nullable(Time('when it ended')),
    queue_position: Nullable(Type.Integer({ description: 'while it is queued; 1 is next' })),
    waiting_for: Nullable(Type.String({ description: 'while it is queued: what is in its way' })),
    bytes_done: Nullable(Bytes('null until it is known how much there is to do')),
    bytes_total: Nullable(Bytes('of the work, an estimate for merges')),
    cancel_reason: Nullable(Type.String({ description: 'it was asked to stop' })),
    error: Nullable(
      Type.Object({
        code: Type.String(),
        message: Type.String(),
        context: Type.Record(Type.String(), Type.String()),
      }),
    ),
    result: Nullable(
      Type.Record(Type.String(), Type.Unknown(), { description: 'what it found or did; fields by kind' }),
    ),
  },
  { title: 'Task' },
);

export const TaskPage = Type.Object({ tasks: Type.Array(Task), next_cursor: NextCursor });

export const TasksQuery = Exactly({
  ...pageQuery,
  state: Type.Optional(State),
  kind: Type.Optional(Kind),
  subject_type: Type.Optional(SubjectType),
  subject_id: Type.Optional(Id('only with `subject_type`')),
});

export const CancelTask = Type.Optional(
  NullableInput(
    Exactly(
      {
        reason: Type.Optional(
          Type.String({ minLength: 1, maxLength: 1000, ...textFormat, description: 'for the record' }),
        ),
      },
      'CancelTask',
    ),
  ),
);

export function taskView(task: TaskRecord, queued: QueuedTask | undefined): Static<typeof Task> {
  return {
    task_id: task.id,
    kind: task.kind,
    subject_type: task.subject.type,
    subject_id: task.subject.id,
    state: task.state,
    requested_by: task.requestedBy,
    created_at: task.createdAt.toISOString(),
    started_at: 'startedAt' in task ? iso(task.startedAt) : null,
    ended_at: 'endedAt' in task ? iso(task.endedAt) : null,
    queue_position: queued?.position ?? null,
    waiting_for: queued?.waitingFor ?? null,
    bytes_done: task.progress?.bytesDone ?? null,
    bytes_total: task.progress?.bytesTotal ?? null,
    cancel_reason: task.cancelReason ?? null,
    error: task.state === 'failed' ? { ...task.error, context: { ...task.error.context } } : null,
    result: 'result' in task && task.result ? { ...task.result } : null,
  };
}
