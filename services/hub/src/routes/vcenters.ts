import { Type } from 'typebox';
import { answers, security } from '../api/openapi.js';
import type { Api } from '../api/server.js';
import type { HubContext } from '../context.js';
import { Exactly, Id, NoBody } from '../schemas/fields.js';
import { NewVCenter, VCenter, VCenterChange, VCenterCheck, vcenterView } from '../schemas/vcenter.js';
import { DiscoveredVm, discoveredVmView } from '../schemas/vm.js';

const tags = ['vcenters'];
const ById = Exactly({ id: Id('`vcenter_id`') });

export function vcenterRoutes(app: Api, hub: HubContext): void {
  readRoutes(app, hub);
  changeRoutes(app, hub);
  updateRoute(app, hub);
  checkRoute(app, hub);
}

function readRoutes(app: Api, { catalog, vcenters }: HubContext): void {
  app.get(
    '/api/v1/vcenters',
    {
      config: { access: 'viewer' },
      schema: {
        tags,
        summary: 'All vCenters',
        security,
        querystring: Exactly({}),
        response: answers({ 200: Type.Object({ vcenters: Type.Array(VCenter) }) }),
      },
    },
    async () => ({ vcenters: (await catalog.vcenters.list()).map(vcenterView) }),
  );

  app.get(
    '/api/v1/vcenters/:id',
    {
      config: { access: 'viewer' },
      schema: { tags, summary: 'One vCenter', security, params: ById, response: answers({ 200: VCenter }) },
    },
    async ({ params }) => vcenterView(await catalog.vcenters.get(params.id)),
  );

  app.get(
    '/api/v1/vcenters/:id/vms',
    {
      config: { access: 'operator' },
      schema: {
        tags,
        summary: 'The VMs that it has now, asked through its node',
        security,
        params: ById,
        querystring: Exactly({}),
        response: answers({ 200: Type.Object({ vms: Type.Array(DiscoveredVm) }) }),
      },
    },
    async ({ params }) => {
      const found = await vcenters.discover(params.id);
      return { vms: found.map(({ vm, contextId }) => discoveredVmView(vm, contextId)) };
    },
  );
}

function changeRoutes(app: Api, { catalog, vcenters }: HubContext): void {
  app.post(
    '/api/v1/vcenters',
    {
      config: { access: 'admin', action: 'vcenter.add' },
      schema: {
        tags,
        summary: 'Store how to reach a vCenter, after a test login through the node',
        description:
          'Without a thumbprint the answer is a problem `vcenter_thumbprint_unconfirmed` whose context shows the certificate presented; no password is sent to it.',
        security,
        body: NewVCenter,
        response: answers({ 201: VCenter }),
      },
    },
    async (request, reply) => {
      const { name, node_name: nodeName, endpoint, username, password, thumbprint } = request.body;
      const added = await vcenters.add({ name, nodeName, endpoint, username, password, thumbprint });
      request.subjectId = added.id;
      return reply.status(201).header('location', `/api/v1/vcenters/${added.id}`).send(vcenterView(added));
    },
  );

  app.delete(
    '/api/v1/vcenters/:id',
    {
      config: { access: 'admin', action: 'vcenter.remove' },
      schema: {
        tags,
        summary: 'Forget a vCenter and its stored password; its VMs and their restore points stay',
        security,
        params: ById,
        response: answers({ 204: Type.Null() }),
      },
    },
    async ({ params }, reply) => {
      await catalog.vcenters.remove(params.id);
      return reply.status(204).send(null);
    },
  );
}

function updateRoute(app: Api, { vcenters }: HubContext): void {
  app.patch(
    '/api/v1/vcenters/:id',
    {
      config: { access: 'admin', action: 'vcenter.update' },
      schema: {
        tags,
        summary: 'Change user, password or pinned certificate, after a test login through the node',
        description: 'What is not given stays. When the login fails, nothing is changed.',
        security,
        params: ById,
        body: VCenterChange,
        response: answers({ 200: VCenter }),
      },
    },
    async ({ params, body }) => vcenterView(await vcenters.update(params.id, body)),
  );
}

function checkRoute(app: Api, { vcenters }: HubContext): void {
  app.post(
    '/api/v1/vcenters/:id/check',
    {
      config: { access: 'operator', action: 'vcenter.check' },
      schema: {
        tags,
        summary: 'Log in through the node and report what answers',
        security,
        params: ById,
        body: NoBody,
        response: answers({ 200: VCenterCheck }),
      },
    },
    async ({ params }) => {
      const found = await vcenters.check(params.id);
      return {
        product: found.product,
        version: found.version,
        api_version: found.apiVersion,
        instance_uuid: found.instanceUuid,
        thumbprint_sha256: found.thumbprintSha256,
        thumbprint_sha1: found.thumbprintSha1,
      };
    },
  );
}
