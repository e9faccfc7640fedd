import { Type } from 'typebox';
import { answers, security } from '../api/openapi.js';
import type { Api } from '../api/server.js';
import type { HubContext } from '../context.js';
import { rescanTask } from '../chains/rescan-task.js';
import { Exactly, Id, NoBody } from '../schemas/fields.js';
import { NewRepository, Repository, repositoryView } from '../schemas/repository.js';
import { Task } from '../schemas/task.js';
import { shownTask } from './tasks.js';

const tags = ['repositories'];
const ById = Exactly({ id: Id('`repository_id`') });

export function repositoryRoutes(app: Api, hub: HubContext): void {
  readRoutes(app, hub);
  changeRoutes(app, hub);
  rescanRoute(app, hub);
}

function readRoutes(app: Api, { repositories }: HubContext): void {
  app.get(
    '/api/v1/repositories',
    {
      config: { access: 'viewer' },
      schema: {
        tags,
        summary: 'All repositories, looked at now',
        security,
        querystring: Exactly({}),
        response: answers({ 200: Type.Object({ repositories: Type.Array(Repository) }) }),
      },
    },
    async () => ({ repositories: (await repositories.list()).map(repositoryView) }),
  );

  app.get(
    '/api/v1/repositories/:id',
    {
      config: { access: 'viewer' },
      schema: {
        tags,
        summary: 'One repository, looked at now',
        security,
        params: ById,
        response: answers({ 200: Repository }),
      },
    },
    async ({ params }) => repositoryView(await repositories.get(params.id)),
  );
}

function changeRoutes(app: Api, { repositories }: HubContext): void {
  app.post(
    '/api/v1/repositories',
    {
      config: { access: 'admin', action: 'repository.add' },
      schema: {
        tags,
        summary: 'Use a directory of the hub as a repository',
        security,
        body: NewRepository,
        response: answers({ 201: Repository }),
      },
    },
    async (request, reply) => {
      const added = await repositories.add(request.body);
      request.subjectId = added.record.id;
      return reply
        .status(201)
        .header('location', `/api/v1/repositories/${added.record.id}`)
        .send(repositoryView(added));
    },
  );

  app.delete(
    '/api/v1/repositories/:id',
    {
      config: { access: 'admin', action: 'repository.remove' },
      schema: {
        tags,
        summary: 'Forget a repository that holds no restore point; its files stay',
        security,
        params: ById,
        response: answers({ 204: Type.Null() }),
      },
    },
    async ({ params }, reply) => {
      await repositories.remove(params.id);
      return reply.status(204).send(null);
    },
  );
}

function rescanRoute(app: Api, hub: HubContext): void {
  app.post(
    '/api/v1/repositories/:id/rescan',
    {
      config: { access: 'admin', action: 'repository.rescan' },
      schema: {
        tags,
        summary: 'Make the catalogue agree with the manifests that lie in a repository',
        description:
          'The answer is the task that does it. Restore points that the catalogue does not know are added, those whose files are gone are reported and become suspect. Nothing is deleted; files that no manifest names are reported.',
        security,
        params: ById,
        body: NoBody,
        response: answers({ 202: Task }),
      },
    },
    async ({ params, caller }, reply) => {
      const { record } = await hub.repositories.get(params.id);
      const task = await hub.tasks.start(rescanTask(record.id, `token:${caller?.id ?? 'unknown'}`));
      return reply.status(202).header('location', `/api/v1/tasks/${task.id}`).send(shownTask(hub, task));
    },
  );
}
