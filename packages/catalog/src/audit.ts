import { SendenseError } from '@sendense/core';
import { fromJson, oneOf } from './columns.js';
import type { Database } from './database.js';
import type { Prisma } from './gen/sqlite/client.js';
import { having, pageLimit, pagePosition, toPage, type Page, type PageRequest } from './paging.js';
import { storableText } from './text-limits.js';

const OUTCOMES = ['ok', 'refused', 'failed'] as const;
type AuditDetail = Readonly<Record<string, string | number | boolean>>;

export interface AuditEvent {
  /** `backup.start`, `node.enrol`, `tunnel.refused`, … */
  readonly action: string;
  /** `token:<id>`, `node:<name>`, `hub`, `anonymous` */
  readonly actor: string;
  readonly outcome: (typeof OUTCOMES)[number];
  /** What it was done to: `backup`, `node`, `repository`, … and its id or name. */
  readonly subjectType?: string;
  readonly subjectId?: string;
  readonly remoteAddress?: string;
  /** Never a secret. */
  readonly detail?: AuditDetail;
}

export interface AuditEventRecord {
  /** 1, 2, 3, … */
  readonly id: number;
  readonly at: Date;
  readonly action: string;
  readonly actor: string;
  readonly outcome: (typeof OUTCOMES)[number];
  readonly subjectType: string | undefined;
  readonly subjectId: string | undefined;
  readonly remoteAddress: string | undefined;
  readonly detail: AuditDetail;
}

/** Of words of ours, so that they can be in an index beside a longer text. */
const MAX_ACTION_LENGTH = 191;
const MAX_SUBJECT_TYPE_LENGTH = 60;
const DAY_MS = 86_400_000;
/** Of INTEGER in MariaDB. */
const MAX_ID = 2 ** 31 - 1;

/** Only ever appended to. */
export class Audit {
  constructor(private readonly database: Database) {}

  async append(event: AuditEvent): Promise<AuditEventRecord> {
    const data = {
      at: this.database.now(),
      action: storableText(event.action, MAX_ACTION_LENGTH),
      actor: storableText(event.actor),
      outcome: event.outcome,
      subjectType:
        event.subjectType === undefined ? null : storableText(event.subjectType, MAX_SUBJECT_TYPE_LENGTH),
      subjectId: event.subjectId === undefined ? null : storableText(event.subjectId),
      remoteAddress: event.remoteAddress ?? null,
      detail: JSON.stringify(event.detail ?? {}),
    };
    return toRecord(await this.database.run((client) => client.auditEvent.create({ data })));
  }

  /** Newest first. */
  async list(
    o: PageRequest & {
      action?: string;
      actor?: string;
      subjectType?: string;
      subjectId?: string;
      since?: Date;
    } = {},
  ): Promise<Page<AuditEventRecord>> {
    const limit = pageLimit(o);
    const before = pagePosition(o);
    // Numbers are given in the order of writing, which a clock that is set back does not change.
    const beforeId = before && Number(before.id);
    if (beforeId !== undefined && !Number.isSafeInteger(beforeId))
      throw new SendenseError('invalid_argument', 'the cursor is not one that this listing gave out');
    const sinceId = o.since === undefined ? undefined : await this.#firstId(o.since);
    const { actor, action, subjectType, subjectId } = o;
    const asRanges = this.database.pagesByRange && (beforeId !== undefined || sinceId !== undefined);
    const values = { actor, action, subjectType, subjectId };
    const { where, orderBy } = having(values, { order: 'desc', asRanges, narrow: ['subjectId'] });
    const rows = await this.database.run((client) =>
      client.auditEvent.findMany({
        where: {
          ...where,
          ...(o.since === undefined ? {} : { at: { gte: o.since } }),
          id: {
            ...(beforeId === undefined ? {} : { lt: beforeId }),
            ...(sinceId === undefined ? {} : { gte: sinceId }),
          },
        },
        orderBy: [...orderBy, { id: 'desc' }],
        take: limit + 1,
      }),
    );
    return toPage(rows, limit, (row) => ({ at: row.at, id: String(row.id) }), toRecord);
  }

  /**
   * A number that no event since this time is below, so that older ones need not be looked at. The first by its time is not
   * always the first that was written: a clock that was set back, by up to a day, is reckoned with.
   */
  async #firstId(since: Date): Promise<number> {
    const first = await this.database.run((client) =>
      client.auditEvent.findFirst({ where: { at: { gte: since } }, orderBy: [{ at: 'asc' }, { id: 'asc' }] }),
    );
    if (!first) return MAX_ID;
    const { _min } = await this.database.run((client) =>
      client.auditEvent.aggregate({
        where: { at: { gte: since, lt: new Date(first.at.getTime() + DAY_MS) } },
        _min: { id: true },
      }),
    );
    return _min.id ?? first.id;
  }
}

function toRecord(row: Prisma.AuditEventGetPayload<object>): AuditEventRecord {
  return {
    id: row.id,
    at: row.at,
    action: row.action,
    actor: row.actor,
    outcome: oneOf(OUTCOMES, row.outcome, 'outcome of an audit event'),
    subjectType: row.subjectType ?? undefined,
    subjectId: row.subjectId ?? undefined,
    remoteAddress: row.remoteAddress ?? undefined,
    detail: fromJson(row.detail, 'the detail of an audit event') as AuditDetail,
  };
}
