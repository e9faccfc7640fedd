import type { AuditEventRecord } from '@sendense/catalog';
import { Type, type Static } from 'typebox';
import { textFormat } from '../api/validation.js';
import { Exactly, NextCursor, Nullable, pageQuery, Time } from './fields.js';

export const AuditEvent = Type.Object(
  {
    audit_event_id: Type.Integer(),
    at: Time('when it happened'),
    action: Type.String({ examples: ['backup.start', 'node.enrol', 'tunnel.refused'] }),
    actor: Type.String({ description: '`token:<id>`, `node:<name>`, `hub`, `anonymous`' }),
    outcome: Type.Enum(['ok', 'refused', 'failed']),
    subject_type: Nullable(Type.String()),
    subject_id: Nullable(Type.String()),
    remote_address: Nullable(Type.String()),
    detail: Type.Record(Type.String(), Type.Union([Type.String(), Type.Number(), Type.Boolean()])),
  },
  { title: 'AuditEvent' },
);

export const AuditEventPage = Type.Object({
  audit_events: Type.Array(AuditEvent),
  next_cursor: NextCursor,
});

const Filter = (description: string) =>
  Type.Optional(Type.String({ minLength: 1, maxLength: 1024, ...textFormat, description }));

export const AuditEventsQuery = Exactly({
  ...pageQuery,
  action: Filter('only this action'),
  actor: Filter('only of this actor'),
  subject_type: Filter('only those about things of this type'),
  subject_id: Filter('only those about this thing'),
  since: Type.Optional(Type.String({ format: 'date-time', description: 'only from then on' })),
});

export function auditEventView(record: AuditEventRecord): Static<typeof AuditEvent> {
  return {
    audit_event_id: record.id,
    at: record.at.toISOString(),
    action: record.action,
    actor: record.actor,
    outcome: record.outcome,
    subject_type: record.subjectType ?? null,
    subject_id: record.subjectId ?? null,
    remote_address: record.remoteAddress ?? null,
    detail: { ...record.detail },
  };
}
