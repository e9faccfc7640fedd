import type { TaskRecord } from '@sendense/catalog';
import { answers, security } from '../api/openapi.js';
import type { Api } from '../api/server.js';
import { requireRemovable } from '../chains/remove-inspect.js';
import { removalRequest } from '../chains/remove-task.js';
import { verifyTask } from '../chains/verify-task.js';
import type { HubContext } from '../context.js';
import { exportTask } from '../exports/export-task.js';
import { Exactly, Id } from '../schemas/fields.js';
import { given } from '../schemas/given.js';
import {
  Export,
  Hold,
  RestorePoint,
  RestorePointPage,
  RestorePointsQuery,
  restorePointView,
  Verify,
} from '../schemas/restore-point.js';
import { Task } from '../schemas/task.js';
import { shownTask } from './tasks.js';

const tags = ['restore points'];

const ById = Exactly({ id: Id('`restore_point_id`') });

export function restorePointRoutes(app: Api, hub: HubContext): void {
  readRoutes(app, hub);
  verifyRoute(app, hub);
  exportRoute(app, hub);
  removeRoute(app, hub);
  holdRoutes(app, hub);
}

function readRoutes(app: Api, { catalog }: HubContext): void {
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
        params: ById,
        response: answers({ 200: RestorePoint }),
      },
    },
    async ({ params }) => restorePointView(await catalog.restorePoints.get(params.id)),
  );
}

function verifyRoute(app: Api, hub: HubContext): void {
  app.post(
    '/api/v1/restore-points/:id/verify',
    {
      config: { access: 'operator', action: 'restore_point.verify' },
      schema: {
        tags,
        summary: 'Read a restore point as a restore would, and compare every block with its hash',
        description:
          'The answer is the task that does it. It fails with `verification_failed` when anything is wrong, and its result names disk, offset and file; the point and every other that is read through the same file become suspect. A complete verification that passes clears that for this point.',
        security,
        params: ById,
        body: Verify,
        response: answers({ 202: Task }),
      },
    },
    async ({ params, body, caller }, reply) => {
      const point = await hub.catalog.restorePoints.get(params.id);
      const task = await hub.tasks.start(
        verifyTask(point, {
          quick: body?.quick ?? false,
          rateLimitBytesPerSecond: 0,
          requestedBy: `token:${caller?.id ?? 'unknown'}`,
        }),
      );
      return reply.status(202).header('location', `/api/v1/tasks/${task.id}`).send(shownTask(hub, task));
    },
  );
}

function exportRoute(app: Api, hub: HubContext): void {
  app.post(
    '/api/v1/restore-points/:id/export',
    {
      config: { access: 'operator', action: 'restore_point.export' },
      schema: {
        tags,
        summary: 'Write disks of a restore point to files of the hub',
        description:
          'The answer is the task that does it. The files are in a new folder below SENDENSE_EXPORT_DIR, which appears when all of it is written and every block was compared with its hash; otherwise nothing is left. Refused at once: a name that is taken or leads elsewhere, `restore_point_suspect` unless `accept_suspect` is true, `export_directory_missing`.',
        security,
        params: ById,
        body: Export,
        response: answers({ 202: Task }),
      },
    },
    async ({ params, body, caller }, reply) => {
      const request = exportTask(await hub.catalog.restorePoints.get(params.id), {
        diskKeys: body.disk_keys,
        format: body.format ?? 'raw',
        to: body.to,
        acceptSuspect: body.accept_suspect ?? false,
        requestedBy: `token:${caller?.id ?? 'unknown'}`,
      });
      await hub.exports.requireFree(body.to);
      const task = await hub.tasks.start(request);
      return reply.status(202).header('location', `/api/v1/tasks/${task.id}`).send(shownTask(hub, task));
    },
  );
}

function removeRoute(app: Api, hub: HubContext): void {
  app.delete(
    '/api/v1/restore-points/:id',
    {
      config: { access: 'admin', action: 'restore_point.remove' },
      schema: {
        tags,
        summary: 'Remove a restore point; later ones take over what they need of it',
        description:
          'Any point of a chain may be removed: the points on it show what they showed before. The answer is the task that does it; while one is under way, that one. Refused at once: `restore_point_held`; `restore_point_suspect` when it or a point that stands on it is suspect, because its data would be merged (a point that nothing stands on can always be removed).',
        security,
        params: ById,
        response: answers({ 202: Task }),
      },
    },
    async (request, reply) => {
      const task = await startRemoval(hub, request.params.id, `token:${request.caller?.id ?? 'unknown'}`);
      return reply.status(202).header('location', `/api/v1/tasks/${task.id}`).send(shownTask(hub, task));
    },
  );
}

/** What would be refused anyhow is refused before it is queued. */
async function startRemoval(hub: HubContext, pointId: string, requestedBy: string): Promise<TaskRecord> {
  const { restorePoints, tasks } = hub.catalog;
  const point = await restorePoints.get(pointId);
  const underWay = (await tasks.unfinished()).find(
    ({ kind, subject }) => kind === 'remove' && subject.id === pointId,
  );
  if (underWay) return underWay;
  if (point.state === 'sealed') await requireRemovable(point, hub.catalog);
  return hub.tasks.start(removalRequest(point, requestedBy));
}

function holdRoutes(app: Api, { catalog }: HubContext): void {
  app.put(
    '/api/v1/restore-points/:id/hold',
    {
      config: { access: 'operator', action: 'restore_point.hold' },
      schema: {
        tags,
        summary: 'Keep a restore point, whatever retention says and whoever asks',
        security,
        params: ById,
        body: Hold,
        response: answers({ 200: RestorePoint }),
      },
    },
    async ({ params, body }) => restorePointView(await catalog.restorePoints.hold(params.id, body.reason)),
  );

  app.delete(
    '/api/v1/restore-points/:id/hold',
    {
      config: { access: 'admin', action: 'restore_point.release' },
      schema: {
        tags,
        summary: 'End the hold of a restore point',
        security,
        params: ById,
        response: answers({ 200: RestorePoint }),
      },
    },
    async ({ params }) => restorePointView(await catalog.restorePoints.release(params.id)),
  );
}
