import { answers, security } from '../api/openapi.js';
import type { Api } from '../api/server.js';
import type { HubContext } from '../context.js';
import { AuditEventPage, AuditEventsQuery, auditEventView } from '../schemas/audit-event.js';
import { given } from '../schemas/given.js';

export function auditEventRoutes(app: Api, { catalog }: HubContext): void {
  app.get(
    '/api/v1/audit-events',
    {
      config: { access: 'admin' },
      schema: {
        tags: ['audit'],
        summary: 'Who did what, newest first',
        security,
        querystring: AuditEventsQuery,
        response: answers({ 200: AuditEventPage }),
      },
    },
    async ({ query }) => {
      const { limit, cursor, action, actor, subject_type: subjectType, subject_id: subjectId } = query;
      const since = query.since === undefined ? undefined : new Date(query.since);
      const { items, nextCursor } = await catalog.audit.list(
        given({ limit, cursor, action, actor, subjectType, subjectId, since }),
      );
      return { audit_events: items.map(auditEventView), next_cursor: nextCursor ?? null };
    },
  );
}
