import type { Readable } from 'node:stream';
import { SendenseError } from '@sendense/core';
import { Type } from 'typebox';
import { eventStream, type StreamedEvent } from '../api/event-stream.js';
import { answers, security } from '../api/openapi.js';
import type { Api } from '../api/server.js';
import type { HubContext } from '../context.js';
import type { BackupEvent } from '../runs/index.js';
import { eventView } from '../schemas/backup-view.js';
import { BackupById } from './backups.js';

/** Sent as it comes; in the document it is text. */
const EventStream = Type.Unsafe<Readable>({ type: 'string' });

export function backupEventRoutes(app: Api, hub: HubContext): void {
  app.get(
    '/api/v1/backups/:id/events',
    {
      config: { access: 'viewer' },
      schema: {
        tags: ['backups'],
        summary: 'What happens to a backup, as server-sent events, until it ends',
        description:
          'Events `state`, `disk`, `snapshot_created`, `progress`, `snapshot_removed` and `warning`, numbered by their `id`. With the header `Last-Event-ID`, only those with a higher number. A comment line is a sign of life.',
        security,
        params: BackupById,
        response: answers({
          200: { description: 'the events', content: { 'text/event-stream': { schema: EventStream } } },
        }),
      },
    },
    async (request, reply) => {
      const after = lastEventId(request.headers['last-event-id']);
      const { id } = await hub.catalog.backups.get(request.params.id);
      const gone = new AbortController();
      reply.raw.once('close', () => gone.abort());
      const signal = AbortSignal.any([gone.signal, hub.stopping]);
      const events = streamed(hub.runs.events(id, after, signal));
      // A proxy that buffers would keep the events to itself.
      reply.type('text/event-stream').header('x-accel-buffering', 'no');
      return reply.send(eventStream(events, signal));
    },
  );
}

async function* streamed(events: AsyncIterable<BackupEvent>): AsyncGenerator<StreamedEvent> {
  for await (const event of events) yield { id: event.sequence, event: event.type, data: eventView(event) };
}

function lastEventId(header: string | string[] | undefined): number {
  if (header === undefined || header === '') return 0;
  const number = Number(header);
  if (Number.isSafeInteger(number) && number >= 0) return number;
  throw new SendenseError('invalid_argument', 'Last-Event-ID must be the number of an event', {
    context: { fields: 'last-event-id' },
  });
}
