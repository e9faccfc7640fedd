import type { FastifyDynamicSwaggerOptions } from '@fastify/swagger';
import type { TSchema } from 'typebox';
import { Problem } from './problem.js';

/** What the document says of the API as a whole; the rest comes from the routes' own schemas. */
export function openApiDocument(version: string): FastifyDynamicSwaggerOptions {
  return {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Sendense hub',
        version,
        description:
          'Backups of VMware virtual machines. JSON with snake_case names; errors are problem details (RFC 9457) with a stable `code`. Make the first token on the hub: `sendense-hub token create --name admin --role admin`.',
        license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
      },
      servers: [{ url: '/' }],
      tags: [
        { name: 'hub', description: 'health, metrics and state of the hub' },
        { name: 'repositories', description: 'where backups are kept' },
        { name: 'nodes', description: 'node appliances' },
        { name: 'vcenters', description: 'vCenters and stand-alone ESXi hosts' },
        { name: 'vms', description: 'protected virtual machines' },
        { name: 'backups', description: 'runs' },
        { name: 'restore points', description: 'what can be restored' },
        { name: 'tasks', description: 'long work on restore points and repositories' },
        { name: 'retention', description: 'which restore points are kept' },
        { name: 'audit', description: 'who did what' },
      ],
      components: {
        securitySchemes: {
          token: { type: 'http', scheme: 'bearer', description: 'roles: admin > operator > viewer' },
        },
      },
    },
  };
}

/** What every route that needs a token carries in the document. */
export const security: { [scheme: string]: string[] }[] = [{ token: [] }];

/** The answers of a route: its own, and problem details for everything else. */
export function answers<S extends Record<number, TSchema | object>>(own: S) {
  return {
    ...own,
    default: {
      description: 'a problem',
      content: { 'application/problem+json': { schema: Problem } },
    },
  };
}
