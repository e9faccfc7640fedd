import {
  printable,
  SendenseError,
  TASK_KINDS,
  TASK_STATES,
  timestampName,
  UNFINISHED_TASK_STATES,
  type TaskKind,
} from '@sendense/core';
import { oneOf, toBigInt } from './columns.js';
import type { Database, Transaction } from './database.js';
import { beyond, having, pageLimit, pagePosition, toPage, type Page, type PageRequest } from './paging.js';
import { freeId } from './record-ids.js';
import { errorToJson } from './stored-error.js';
import { count, counts } from './tallies.js';
import {
  toTaskRecord,
  type TaskArgs,
  type TaskRecord,
  type TaskRow,
  type TaskState,
  type TaskStateChange,
  type TaskSubject,
} from './task-records.js';
import { MAX_REASON_LENGTH, requireText, storableText } from './text-limits.js';

/** From each state, where a caller may go. */
const STEPS: Record<TaskState, readonly TaskState[]> = {
  queued: ['running', 'failed', 'cancelled'],
  running: ['queued', 'running', 'completed', 'failed', 'cancelled'],
  completed: [],
  failed: [],
  cancelled: [],
};

/** Table `tasks`: long work on a repository other than backups. */
export class Tasks {
  constructor(private readonly database: Database) {}

  /** Records a task in state `queued`. @param o.args what it needs to run, also after a restart @throws `invalid_argument` for an empty subject */
  async create(o: {
    kind: TaskKind;
    subject: TaskSubject;
    args?: TaskArgs;
    requestedBy: string;
  }): Promise<TaskRecord> {
    const createdAt = this.database.now();
    const subjectId = requireText('the subject of a task', o.subject.id);
    const row = await this.database.transaction(async (transaction) => {
      const id = await freeId(
        `task-${o.kind}-${timestampName(createdAt)}`,
        async (id) => (await transaction.task.findUnique({ where: { id } })) !== null,
      );
      return transaction.task.create({
        data: {
          id,
          kind: o.kind,
          subjectType: o.subject.type,
          subjectId,
          args: JSON.stringify(o.args ?? {}),
          requestedBy: o.requestedBy,
          state: 'queued',
          createdAt,
        },
      });
    });
    return toTaskRecord(row);
  }

  async find(id: string): Promise<TaskRecord | undefined> {
    const row = await this.database.run((client) => client.task.findUnique({ where: { id } }));
    return row ? toTaskRecord(row) : undefined;
  }

  /** @throws `task_not_found` */
  async get(id: string): Promise<TaskRecord> {
    const found = await this.find(id);
    if (!found) throw taskNotFound(id);
    return found;
  }

  /** Newest first. @throws `invalid_argument` for limit or cursor */
  async list(
    o: PageRequest & {
      state?: TaskState;
      kind?: TaskKind;
      subject?: TaskSubject;
    } = {},
  ): Promise<Page<TaskRecord>> {
    const limit = pageLimit(o);
    const before = pagePosition(o);
    const { kind, state, subject } = o;
    const asRanges = this.database.pagesByRange && before !== undefined;
    const values = { kind, state, subjectType: subject?.type, subjectId: subject?.id };
    const { where, orderBy } = having(values, {
      order: 'desc',
      asRanges,
      narrow: ['subjectType', 'subjectId'],
    });
    const rows = await this.database.run((client) =>
      client.task.findMany({
        where: { ...where, ...beyond(before, 'older', 'createdAt', 'id') },
        orderBy: [...orderBy, { createdAt: 'desc' }, { id: 'desc' }],
        take: limit + 1,
      }),
    );
    return toPage(rows, limit, (row) => ({ at: row.createdAt, id: row.id }), toTaskRecord);
  }

  /** Those that are queued or running, oldest first: the queue, and what a start takes up. */
  async unfinished(): Promise<TaskRecord[]> {
    const rows = await this.database.run((client) =>
      client.task.findMany({
        where: { state: { in: [...UNFINISHED_TASK_STATES] } },
        orderBy: [{ createdAt: 'asc' }, { id: 'asc' }],
      }),
    );
    return rows.map(toTaskRecord);
  }

  /** Moves the task on. @throws `task_not_found`; `conflict` when that step is not possible from its present state */
  async changeState(id: string, change: TaskStateChange): Promise<TaskRecord> {
    return this.#update(id, async (row, transaction) => {
      const from = oneOf(TASK_STATES, row.state, 'state of a task');
      if (!STEPS[from].includes(change.state)) throw impossible(row, `become ${change.state}`);
      if (STEPS[change.state].length === 0) await count(transaction, `tasks/${row.kind}/${change.state}`, 1);
      return { state: change.state, ...toColumns(row, change, this.database.now()) };
    });
  }

  /** How far a running task is; late news of one that has ended is passed over. @throws `task_not_found`, `invalid_argument` for what is no byte count */
  async recordProgress(id: string, o: { bytesDone: number; bytesTotal: number }): Promise<void> {
    const data = {
      bytesDone: toBigInt(o.bytesDone, 'bytesDone'),
      bytesTotal: toBigInt(o.bytesTotal, 'bytesTotal'),
    };
    const { count } = await this.database.run((client) =>
      client.task.updateMany({ where: { id, state: 'running' }, data }),
    );
    if (count === 0) await this.get(id);
  }

  /**
   * Takes down that somebody wants it to stop; its state changes when it has. The first reason stays.
   * @throws `task_not_found`; `conflict` when it has ended
   */
  async requestCancel(id: string, reason: string): Promise<TaskRecord> {
    return this.#update(id, (row) => {
      if (!UNFINISHED_TASK_STATES.some((state) => state === row.state)) throw impossible(row, 'be cancelled');
      return { cancelReason: row.cancelReason ?? storableText(reason, MAX_REASON_LENGTH) };
    });
  }

  /** For metrics: only what there is. */
  async countByKindAndState(): Promise<{ kind: TaskKind; state: TaskState; count: number }[]> {
    const ended = await this.database.run((client) => counts(client, 'tasks/'));
    const unfinished = await this.database.run((client) =>
      client.task.groupBy({
        by: ['kind', 'state'],
        where: { state: { in: [...UNFINISHED_TASK_STATES] } },
        _count: { _all: true },
      }),
    );
    return [
      ...[...ended].map(([name, count]) => ({ kind: name.split('/')[0], state: name.split('/')[1], count })),
      ...unfinished.map(({ kind, state, _count }) => ({ kind, state, count: _count._all })),
    ].map(({ kind, state, count }) => ({
      kind: oneOf(TASK_KINDS, kind ?? '', 'kind of a task'),
      state: oneOf(TASK_STATES, state ?? '', 'state of a task'),
      count,
    }));
  }

  async #update(
    id: string,
    change: (row: TaskRow, transaction: Transaction) => Partial<TaskRow> | Promise<Partial<TaskRow>>,
  ): Promise<TaskRecord> {
    return this.database.transaction(async (transaction) => {
      const row = await transaction.task.findUnique({ where: { id } });
      if (!row) throw taskNotFound(id);
      return toTaskRecord(
        await transaction.task.update({ where: { id }, data: await change(row, transaction) }),
      );
    });
  }
}

function toColumns(row: TaskRow, change: TaskStateChange, now: Date): Partial<TaskRow> {
  switch (change.state) {
    case 'queued':
      return { startedAt: null };
    case 'running':
      return { startedAt: row.startedAt ?? now };
    case 'completed':
      return { endedAt: now, result: JSON.stringify(change.result) };
    default:
      return {
        endedAt: now,
        result: change.result === undefined ? null : JSON.stringify(change.result),
        ...(change.state === 'failed' ? { error: errorToJson(change.error) } : {}),
      };
  }
}

function impossible(row: TaskRow, what: string): SendenseError {
  return new SendenseError('conflict', `${row.id} is ${row.state} and cannot ${what}`, {
    context: { task_id: row.id, state: row.state },
  });
}

function taskNotFound(id: string): SendenseError {
  return new SendenseError(
    'task_not_found',
    `there is no task ${printable(id)}: list them with 'sendense task list'`,
    { context: { task_id: id } },
  );
}
