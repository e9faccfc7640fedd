import { SendenseError } from '@sendense/core';
import { Type } from 'typebox';
import { answers, security } from '../api/openapi.js';
import type { Api } from '../api/server.js';
import type { HubContext } from '../context.js';
import { Exactly, Id } from '../schemas/fields.js';
import { given } from '../schemas/given.js';
import { NewProtectedVm, ProtectedVm, protectedVmView, VmPage, VmsQuery } from '../schemas/vm.js';

const tags = ['vms'];
const ById = Exactly({ context_id: Id('`context_id`') });

export function vmRoutes(app: Api, hub: HubContext): void {
  readRoutes(app, hub);
  changeRoutes(app, hub);
}

function readRoutes(app: Api, { catalog }: HubContext): void {
  app.get(
    '/api/v1/vms',
    {
      config: { access: 'viewer' },
      schema: {
        tags,
        summary: 'Protected VMs',
        security,
        querystring: VmsQuery,
        response: answers({ 200: VmPage }),
      },
    },
    async ({ query }) => {
      const { limit, cursor, name, vcenter_id: vcenterId } = query;
      const { items, nextCursor } = await catalog.vms.list(given({ limit, cursor, name, vcenterId }));
      return { vms: items.map(protectedVmView), next_cursor: nextCursor ?? null };
    },
  );

  app.get(
    '/api/v1/vms/:context_id',
    {
      config: { access: 'viewer' },
      schema: {
        tags,
        summary: 'One protected VM',
        security,
        params: ById,
        response: answers({ 200: ProtectedVm }),
      },
    },
    async ({ params }) => protectedVmView(await catalog.vms.get(params.context_id)),
  );
}

function changeRoutes(app: Api, { catalog, vcenters }: HubContext): void {
  app.post(
    '/api/v1/vms',
    {
      config: { access: 'operator', action: 'vm.protect' },
      schema: {
        tags,
        summary: 'Put a VM under protection: it gets a context that its backups belong to',
        description:
          'Give either `vm_name` or `moref`. Changed block tracking is enabled and started, for which a snapshot is made and removed at once; a VM that cannot have it, or whose node is away, is protected all the same, and `change_tracking` says why.',
        security,
        body: NewProtectedVm,
        response: answers({ 201: ProtectedVm }),
      },
    },
    async (request, reply) => {
      const { vcenter_id: vcenterId, vm_name: name, moref } = request.body;
      if ((name === undefined) === (moref === undefined))
        throw new SendenseError('invalid_argument', 'give either vm_name or moref', {
          context: { fields: 'vm_name,moref' },
        });
      const vm = await vcenters.protect(vcenterId, given({ name, moref }));
      request.subjectId = vm.contextId;
      return reply.status(201).header('location', `/api/v1/vms/${vm.contextId}`).send(protectedVmView(vm));
    },
  );

  app.delete(
    '/api/v1/vms/:context_id',
    {
      config: { access: 'operator', action: 'vm.unprotect' },
      schema: {
        tags,
        summary: 'End the protection of a VM that has no restore point',
        security,
        params: ById,
        response: answers({ 204: Type.Null() }),
      },
    },
    async ({ params }, reply) => {
      await catalog.vms.remove(params.context_id);
      return reply.status(204).send(null);
    },
  );
}
