import type { ApiRole, ApiTokenRecord } from '@sendense/catalog';
import { SendenseError } from '@sendense/core';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { HubContext } from '../context.js';

/** Who may call a route: anybody, or tokens of this role and of those above it. */
export type Access = 'open' | ApiRole;

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Every route says who may call it; one that does not stops the start. */
    access?: Access;
  }
  interface FastifyRequest {
    /** Undefined on open routes, and until the token was recognised. */
    caller: ApiTokenRecord | undefined;
  }
}

const RANK: Record<ApiRole, number> = { viewer: 1, operator: 2, admin: 3 };

/** Requires on every route the token that the route's `access` asks for. */
export function addAuthentication(app: FastifyInstance, hub: Pick<HubContext, 'catalog'>): void {
  app.decorateRequest('caller', undefined);
  app.addHook('onRoute', ({ url, config }) => {
    if (config?.access === undefined)
      throw new SendenseError('internal', `route ${url} does not say who may call it`);
  });
  app.addHook('onRequest', async (request, reply) => {
    const access = request.routeOptions.config.access;
    // Without a route there is nothing to protect: the answer is 404.
    if (access === undefined || access === 'open') return;
    reply.header('www-authenticate', 'Bearer realm="sendense"');
    const caller = await authenticate(request, hub);
    request.caller = caller;
    if (RANK[caller.role] < RANK[access])
      throw new SendenseError(
        'permission_denied',
        `token '${caller.name}' has the role ${caller.role}, and this needs ${access}: use a token of that role`,
        { context: { role: caller.role, needed: access } },
      );
    reply.removeHeader('www-authenticate');
  });
}

async function authenticate(
  request: FastifyRequest,
  hub: Pick<HubContext, 'catalog'>,
): Promise<ApiTokenRecord> {
  const header = request.headers.authorization;
  const token = /^Bearer +([\x21-\x7e]{1,500}) *$/i.exec(header ?? '')?.[1];
  if (token === undefined) {
    const none = header === undefined ? 'no token' : 'an authorization header that is not a bearer token';
    throw new SendenseError(
      'unauthenticated',
      `${none}: send 'Authorization: Bearer TOKEN'. An administrator makes tokens on the hub with 'sendense-hub token create'`,
    );
  }
  const caller = await hub.catalog.tokens.authenticate(token);
  if (!caller) throw new SendenseError('unauthenticated', 'this token is not known, or it was revoked');
  return caller;
}
