import { buildInfo } from '@sendense/runtime';
import { Type } from 'typebox';
import { answers, security } from '../api/openapi.js';
import type { Api } from '../api/server.js';
import type { HubContext } from '../context.js';
import { checkDependencies } from '../health.js';
import { Time } from '../schemas/fields.js';

const Status = Type.Enum(['ok', 'degraded']);

const Health = Type.Object(
  {
    status: Status,
    service: Type.Literal('sendense-hub'),
    version: Type.String(),
    commit: Type.String({ description: 'that it was built from' }),
    started_at: Time('of the process'),
    uptime_seconds: Type.Integer(),
    dependencies: Type.Record(
      Type.String(),
      Type.Object({
        status: Status,
        detail: Type.String({ description: 'what was found, or what is wrong and what to do' }),
      }),
    ),
  },
  { title: 'Health' },
);

export function healthRoutes(app: Api, hub: HubContext): void {
  app.get(
    '/health',
    {
      config: { access: 'open' },
      schema: {
        tags: ['hub'],
        summary: 'Whether the hub works, and everything that it depends on',
        description: 'Answers 200 as long as the hub is alive; `status` tells whether something is missing.',
        security: [],
        response: answers({ 200: Health }),
      },
    },
    async () => {
      const dependencies = await checkDependencies(hub);
      const fine = Object.values(dependencies).every(({ status }) => status === 'ok');
      return {
        status: fine ? ('ok' as const) : ('degraded' as const),
        service: 'sendense-hub' as const,
        version: buildInfo.version,
        commit: buildInfo.commit,
        started_at: hub.startedAt.toISOString(),
        uptime_seconds: Math.floor((Date.now() - hub.startedAt.getTime()) / 1000),
        dependencies,
      };
    },
  );

  app.get(
    '/metrics',
    {
      config: { access: 'viewer' },
      schema: {
        tags: ['hub'],
        summary: 'Figures for Prometheus',
        security,
        response: answers({
          200: {
            description: 'the text format of Prometheus',
            content: { 'text/plain': { schema: Type.String() } },
          },
        }),
      },
    },
    async (_request, reply) => reply.type(hub.metrics.contentType).send(await hub.metrics.collect(hub)),
  );

  app.get('/openapi.json', { config: { access: 'open' }, schema: { hide: true } }, async (_request, reply) =>
    reply.type('application/json').send(JSON.stringify(app.swagger())),
  );
}
