import { answers, security } from '../api/openapi.js';
import type { Api } from '../api/server.js';
import type { HubContext } from '../context.js';
import { Exactly, Id } from '../schemas/fields.js';
import { given } from '../schemas/given.js';
import {
  RestorePoint,
  RestorePointPage,
  RestorePointsQuery,
  restorePointView,
} from '../schemas/restore-point.js';

const tags = ['restore points'];

export function restorePointRoutes(app: Api, { catalog }: HubContext): void {
  app.get(
    '/api/v1/restore-points',
    {
      config: { access: 'viewer' },
      schema: {
        tags,
        summary: 'What can be restored, newest first',
        security,
        querystring: RestorePointsQuery,
        response: answers({ 200: RestorePointPage }),
      },
    },
    async ({ query }) => {
      const { limit, cursor, vm_name: vmName, context_id: contextId, repository_id: repositoryId } = query;
      const { items, nextCursor } = await catalog.restorePoints.list(
        given({ limit, cursor, vmName, contextId, repositoryId }),
      );
      return { restore_points: items.map(restorePointView), next_cursor: nextCursor ?? null };
    },
  );

  app.get(
    '/api/v1/restore-points/:id',
    {
      config: { access: 'viewer' },
      schema: {
        tags,
        summary: 'One restore point with its disks',
        security,
        params: Exactly({ id: Id('`restore_point_id`') }),
        response: answers({ 200: RestorePoint }),
      },
    },
    async ({ params }) => restorePointView(await catalog.restorePoints.get(params.id)),
  );
}
