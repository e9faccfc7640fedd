import { Type } from 'typebox';
import { answers, security } from '../api/openapi.js';
import type { Api } from '../api/server.js';
import type { HubContext } from '../context.js';
import type { NodeEnrolment } from '../nodes/nodes.js';
import { Exactly, Id, NoBody } from '../schemas/fields.js';
import { Enrolment, NewNode, Node, nodeView } from '../schemas/node.js';

const tags = ['nodes'];
const ByName = Exactly({ name: Id('name of the node') });

const enrolmentView = ({ name, token, expiresAt }: NodeEnrolment) => ({
  name,
  enrolment_token: token,
  expires_at: expiresAt.toISOString(),
});

export function nodeRoutes(app: Api, hub: HubContext): void {
  readRoutes(app, hub);
  enrolmentRoutes(app, hub);
  removeRoute(app, hub);
}

function readRoutes(app: Api, { nodes }: HubContext): void {
  app.get(
    '/api/v1/nodes',
    {
      config: { access: 'viewer' },
      schema: {
        tags,
        summary: 'All nodes',
        security,
        querystring: Exactly({}),
        response: answers({ 200: Type.Object({ nodes: Type.Array(Node) }) }),
      },
    },
    async () => ({ nodes: (await nodes.list()).map(nodeView) }),
  );

  app.get(
    '/api/v1/nodes/:name',
    {
      config: { access: 'viewer' },
      schema: {
        tags,
        summary: 'One node; when it is online, with its checks as they are now',
        security,
        params: ByName,
        response: answers({ 200: Node }),
      },
    },
    async ({ params }) => nodeView(await nodes.get(params.name)),
  );
}

function enrolmentRoutes(app: Api, { nodes }: HubContext): void {
  app.post(
    '/api/v1/nodes',
    {
      config: { access: 'admin', action: 'node.add' },
      schema: {
        tags,
        summary: 'Name a new node and make the one-time token that enrols it',
        security,
        body: NewNode,
        response: answers({ 201: Enrolment }),
      },
    },
    async (request, reply) => {
      const { name } = request.body;
      request.subjectId = name;
      const enrolment = await nodes.add(name);
      return reply.status(201).header('location', `/api/v1/nodes/${name}`).send(enrolmentView(enrolment));
    },
  );

  app.post(
    '/api/v1/nodes/:name/token',
    {
      config: { access: 'admin', action: 'node.token' },
      schema: {
        tags,
        summary: 'Make a new one-time token; an unused one stops working',
        description: 'An enrolled node keeps its key until the token is used. A revoked node waits again.',
        security,
        params: ByName,
        body: NoBody,
        response: answers({ 201: Enrolment }),
      },
    },
    async ({ params }, reply) => reply.status(201).send(enrolmentView(await nodes.issueToken(params.name))),
  );
}

function removeRoute(app: Api, { nodes }: HubContext): void {
  app.delete(
    '/api/v1/nodes/:name',
    {
      config: { access: 'admin', action: 'node.revoke' },
      schema: {
        tags,
        summary: 'Revoke a node: its connections end and its key is never accepted again',
        description: 'One that is revoked already, or never was enrolled, is forgotten.',
        security,
        params: ByName,
        response: answers({ 204: Type.Null() }),
      },
    },
    async ({ params }, reply) => {
      await nodes.remove(params.name);
      return reply.status(204).send(null);
    },
  );
}
