import type { BackupRecord } from '@sendense/catalog';
import { SendenseError } from '@sendense/core';
import type { Static } from 'typebox';
import { answers, security } from '../api/openapi.js';
import type { Api } from '../api/server.js';
import type { HubContext } from '../context.js';
import type { BackupRequest } from '../runs/index.js';
import { Backup, BackupPage, BackupPlan, BackupsQuery, CancelBackup, NewBackup } from '../schemas/backup.js';
import { backupView, planView } from '../schemas/backup-view.js';
import { Exactly, Id } from '../schemas/fields.js';
import { given } from '../schemas/given.js';

const tags = ['backups'];
export const BackupById = Exactly({ id: Id('`backup_id`') });

export function backupRoutes(app: Api, hub: HubContext): void {
  startRoute(app, hub);
  readRoutes(app, hub);
  app.post(
    '/api/v1/backups/:id/cancel',
    {
      config: { access: 'operator', action: 'backup.cancel' },
      schema: {
        tags,
        summary: 'Stop a backup and release everything that it holds',
        description: 'Answers at once; the backup ends as `cancelled`. One that has ended stays as it is.',
        security,
        params: BackupById,
        body: CancelBackup,
        response: answers({ 202: Backup }),
      },
    },
    async ({ params, body, caller }, reply) => {
      const reason = body?.reason ?? `asked for by ${caller?.name ?? 'somebody'}`;
      return reply.status(202).send(shown(hub, await hub.runs.cancel(params.id, reason)));
    },
  );
}

function startRoute(app: Api, hub: HubContext): void {
  app.post(
    '/api/v1/backups',
    {
      config: { access: 'operator', action: 'backup.start' },
      schema: {
        tags,
        summary: 'Back up all disks of a protected VM',
        description:
          'Give either `vm_name` or `context_id`. Answers within 2 seconds: with the NBD targets when they are up, or with the state `queued`. With `dry_run`, nothing is started.',
        security,
        body: NewBackup,
        response: answers({ 200: BackupPlan, 202: Backup }),
      },
    },
    async (request, reply) => {
      const wanted = await backupRequest(hub, request.body, request.caller?.id ?? 'unknown');
      if (request.body.dry_run) {
        request.subjectId = wanted.contextId;
        return reply.status(200).send(planView(await hub.runs.plan(wanted)));
      }
      const record = await hub.runs.start(wanted);
      request.subjectId = record.id;
      return reply.status(202).header('location', `/api/v1/backups/${record.id}`).send(shown(hub, record));
    },
  );
}

function readRoutes(app: Api, hub: HubContext): void {
  app.get(
    '/api/v1/backups',
    {
      config: { access: 'viewer' },
      schema: {
        tags,
        summary: 'Backups, newest first',
        security,
        querystring: BackupsQuery,
        response: answers({ 200: BackupPage }),
      },
    },
    async ({ query }) => {
      const {
        limit,
        cursor,
        state,
        vm_name: vmName,
        context_id: contextId,
        repository_id: repositoryId,
      } = query;
      const { items, nextCursor } = await hub.catalog.backups.list(
        given({ limit, cursor, state, vmName, contextId, repositoryId }),
      );
      return { backups: items.map((record) => shown(hub, record)), next_cursor: nextCursor ?? null };
    },
  );

  app.get(
    '/api/v1/backups/:id',
    {
      config: { access: 'viewer' },
      schema: {
        tags,
        summary: 'One backup with the progress of its disks',
        security,
        params: BackupById,
        response: answers({ 200: Backup }),
      },
    },
    async ({ params }) => shown(hub, await hub.catalog.backups.get(params.id)),
  );
}

async function backupRequest(
  { catalog }: HubContext,
  body: Static<typeof NewBackup>,
  callerId: string,
): Promise<BackupRequest> {
  const { vm_name: vmName, context_id: contextId } = body;
  if ((vmName === undefined) === (contextId === undefined))
    throw new SendenseError('invalid_argument', 'give either vm_name or context_id', {
      context: { fields: 'vm_name,context_id' },
    });
  const vm = vmName === undefined ? undefined : await catalog.vms.getByName(vmName);
  return {
    contextId: vm?.contextId ?? contextId ?? '',
    repositoryId: body.repository_id,
    type: body.backup_type,
    quiesce: body.quiesce ?? false,
    requestedBy: `token:${callerId}`,
  };
}

function shown({ runs }: HubContext, record: BackupRecord): Static<typeof Backup> {
  const queued =
    record.state === 'queued' ? runs.queue().find(({ jobId }) => jobId === record.id) : undefined;
  return backupView(record, { progress: runs.progress(record.id), queued });
}
