import type { TaskRecord } from '@sendense/catalog';
import { SendenseError } from '@sendense/core';
import type { Static } from 'typebox';
import { answers, security } from '../api/openapi.js';
import type { Api } from '../api/server.js';
import type { HubContext } from '../context.js';
import { Exactly, Id } from '../schemas/fields.js';
import { given } from '../schemas/given.js';
import { CancelTask, Task, TaskPage, TasksQuery, taskView } from '../schemas/task.js';

const tags = ['tasks'];
const ById = Exactly({ id: Id('`task_id`') });

export function taskRoutes(app: Api, hub: HubContext): void {
  readRoutes(app, hub);
  app.post(
    '/api/v1/tasks/:id/cancel',
    {
      config: { access: 'operator', action: 'task.cancel' },
      schema: {
        tags,
        summary: 'Stop a task',
        description:
          'Answers at once; the task ends as `cancelled`. One that has ended stays as it is. A merge that has begun to change an image cannot be taken back: the answer is `conflict` then, and the task goes on.',
        security,
        params: ById,
        body: CancelTask,
        response: answers({ 202: Task }),
      },
    },
    async ({ params, body, caller }, reply) => {
      const reason = body?.reason ?? `asked for by ${caller?.name ?? 'somebody'}`;
      return reply.status(202).send(shownTask(hub, await hub.tasks.cancel(params.id, reason)));
    },
  );
}

function readRoutes(app: Api, hub: HubContext): void {
  app.get(
    '/api/v1/tasks',
    {
      config: { access: 'viewer' },
      schema: {
        tags,
        summary: 'Long work on restore points and repositories, newest first',
        security,
        querystring: TasksQuery,
        response: answers({ 200: TaskPage }),
      },
    },
    async ({ query }) => {
      const { limit, cursor, kind, state, subject_type: type, subject_id: id } = query;
      if ((type === undefined) !== (id === undefined))
        throw new SendenseError('invalid_argument', 'give subject_type and subject_id together, or neither', {
          context: { fields: 'subject_type,subject_id' },
        });
      const subject = type === undefined || id === undefined ? undefined : { type, id };
      const { items, nextCursor } = await hub.catalog.tasks.list(
        given({ limit, cursor, kind, state, subject }),
      );
      return { tasks: items.map((task) => shownTask(hub, task)), next_cursor: nextCursor ?? null };
    },
  );

  app.get(
    '/api/v1/tasks/:id',
    {
      config: { access: 'viewer' },
      schema: {
        tags,
        summary: 'One task with its progress and, at its end, its result',
        security,
        params: ById,
        response: answers({ 200: Task }),
      },
    },
    async ({ params }) => shownTask(hub, await hub.catalog.tasks.get(params.id)),
  );
}

/** A task as the API shows it: what it waits for is known to the runner alone. */
export function shownTask({ tasks }: Pick<HubContext, 'tasks'>, task: TaskRecord): Static<typeof Task> {
  const queued = task.state === 'queued' ? tasks.queue().find(({ taskId }) => taskId === task.id) : undefined;
  return taskView(task, queued);
}
