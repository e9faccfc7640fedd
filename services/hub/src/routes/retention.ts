import type { ChainRef, RetentionScope } from '@sendense/catalog';
import { Type } from 'typebox';
import { answers, security } from '../api/openapi.js';
import type { Api } from '../api/server.js';
import type { HubContext } from '../context.js';
import { planRetention } from '../retention/retention-plan.js';
import { removalCosts } from '../retention/removal-costs.js';
import { Exactly, Id } from '../schemas/fields.js';
import {
  NewRetentionPolicy,
  policyView,
  RetentionPreview,
  retentionPreviewView,
  RetentionSetting,
  RetentionTarget,
  toPolicy,
} from '../schemas/retention.js';
import { Task } from '../schemas/task.js';
import { shownTask } from './tasks.js';

const tags = ['retention'];
const OfVm = Exactly({ context_id: Id('`context_id`') });
const OfRepository = Exactly({ id: Id('`repository_id`') });

export function retentionRoutes(app: Api, hub: HubContext): void {
  vmRoutes(app, hub);
  repositoryRoutes(app, hub);
  previewRoute(app, hub);
  applyRoute(app, hub);
}

const VM_PATH = '/api/v1/vms/:context_id/retention';

function vmRoutes(app: Api, hub: HubContext): void {
  const own = { tags, security, params: OfVm };
  app.get(
    VM_PATH,
    {
      config: { access: 'viewer' },
      schema: {
        ...own,
        summary: "A VM's own retention policy",
        response: answers({ 200: RetentionSetting }),
      },
    },
    async ({ params: { context_id: contextId } }) => {
      await hub.catalog.vms.get(contextId);
      return setting(hub, { contextId });
    },
  );
  app.put(
    VM_PATH,
    {
      config: { access: 'admin', action: 'retention.set' },
      schema: {
        ...own,
        summary: 'Set the retention policy of a VM; it is applied after each of its backups',
        body: NewRetentionPolicy,
        response: answers({ 200: RetentionSetting }),
      },
    },
    async ({ params: { context_id: contextId }, body }) => ({
      policy: policyView(await hub.catalog.retention.set({ contextId }, toPolicy(body))),
    }),
  );
  app.delete(
    VM_PATH,
    {
      config: { access: 'admin', action: 'retention.clear' },
      schema: {
        ...own,
        summary: 'Remove the policy of a VM: the default of the repository applies then',
        response: answers({ 204: Type.Null() }),
      },
    },
    async ({ params: { context_id: contextId } }, reply) => {
      await hub.catalog.vms.get(contextId);
      await hub.catalog.retention.clear({ contextId });
      return reply.status(204).send(null);
    },
  );
}

const REPOSITORY_PATH = '/api/v1/repositories/:id/retention';

function repositoryRoutes(app: Api, hub: HubContext): void {
  const own = { tags, security, params: OfRepository };
  app.get(
    REPOSITORY_PATH,
    {
      config: { access: 'viewer' },
      schema: {
        ...own,
        summary: 'The default retention policy of a repository',
        response: answers({ 200: RetentionSetting }),
      },
    },
    async ({ params: { id: repositoryId } }) => {
      await hub.catalog.repositories.get(repositoryId);
      return setting(hub, { repositoryId });
    },
  );
  app.put(
    REPOSITORY_PATH,
    {
      config: { access: 'admin', action: 'retention.set' },
      schema: {
        ...own,
        summary: 'Set the default for VMs that have no policy of their own',
        body: NewRetentionPolicy,
        response: answers({ 200: RetentionSetting }),
      },
    },
    async ({ params: { id: repositoryId }, body }) => ({
      policy: policyView(await hub.catalog.retention.set({ repositoryId }, toPolicy(body))),
    }),
  );
  app.delete(
    REPOSITORY_PATH,
    {
      config: { access: 'admin', action: 'retention.clear' },
      schema: {
        ...own,
        summary: 'Remove the default of a repository: VMs without a policy keep everything then',
        response: answers({ 204: Type.Null() }),
      },
    },
    async ({ params: { id: repositoryId } }, reply) => {
      await hub.catalog.repositories.get(repositoryId);
      await hub.catalog.retention.clear({ repositoryId });
      return reply.status(204).send(null);
    },
  );
}

function previewRoute(app: Api, hub: HubContext): void {
  app.get(
    `${VM_PATH}/preview`,
    {
      config: { access: 'viewer' },
      schema: {
        tags,
        summary: 'Which restore points the policy keeps and why, and what removing the others costs',
        security,
        params: OfVm,
        querystring: RetentionTarget,
        response: answers({ 200: RetentionPreview }),
      },
    },
    async ({ params, query }) => {
      const chain = { contextId: params.context_id, repositoryId: query.repository_id };
      await hub.catalog.vms.get(chain.contextId);
      const { status } = await hub.repositories.get(chain.repositoryId);
      const plan = await planRetention(hub.catalog, chain.contextId, chain.repositoryId);
      const costs = removalCosts(
        plan.points.map(({ point }) => point),
        plan.toRemove.map(({ id }) => id),
        status.available ? status.space.availableBytes : 0,
      );
      return retentionPreviewView(chain, plan, costs);
    },
  );
}

function applyRoute(app: Api, hub: HubContext): void {
  app.post(
    `${VM_PATH}/apply`,
    {
      config: { access: 'admin', action: 'retention.apply' },
      schema: {
        tags,
        summary: 'Remove now what the policy does not keep, in the order that costs least',
        description:
          'The answer is the task that does it; what goes is decided when it runs. A point that cannot be removed is named in the result and does not stop the others.',
        security,
        params: OfVm,
        body: RetentionTarget,
        response: answers({ 202: Task }),
      },
    },
    async ({ params, body, caller }, reply) => {
      const chain = await chainOf(hub, params.context_id, body.repository_id);
      const task = await hub.retention.apply(chain, `token:${caller?.id ?? 'unknown'}`);
      return reply.status(202).header('location', `/api/v1/tasks/${task.id}`).send(shownTask(hub, task));
    },
  );
}

async function setting({ catalog }: HubContext, scope: RetentionScope) {
  return { policy: policyView(await catalog.retention.get(scope)) };
}

/** @throws `vm_not_protected` · `repository_not_found` */
async function chainOf({ catalog }: HubContext, contextId: string, repositoryId: string): Promise<ChainRef> {
  await catalog.vms.get(contextId);
  await catalog.repositories.get(repositoryId);
  return { contextId, repositoryId };
}
