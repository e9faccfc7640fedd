import {
  toStoredError,
  type Catalog,
  type TaskRecord,
  type TaskResult,
  type TaskStateChange,
} from '@sendense/catalog';
import { SendenseError, toSendenseError, type TaskKind } from '@sendense/core';
import type { Logger } from '@sendense/runtime';
import type { AuditTrail } from '../audit-trail.js';
import type { ChainLock, ChainLocks } from '../chains/locks.js';
import { TaskProgress } from './task-progress.js';
import { TaskQueue } from './task-queue.js';
import type { QueuedTask, TaskHandler, TaskRequest, Tasks } from './types.js';

export interface TaskRunnerOptions {
  readonly catalog: Pick<Catalog, 'tasks'>;
  readonly locks: ChainLocks;
  readonly audit: AuditTrail;
  readonly log: Logger;
  /** Tasks that run at the same time. */
  readonly maxTasks: number;
  /** @default 1000 */
  readonly progressEveryMs?: number;
}

interface RunningTask {
  readonly abort: AbortController;
  /** Why it cannot be cancelled any more. */
  committed: string | undefined;
  /** For one that does not come to its end. */
  soFar: TaskResult | undefined;
  /** Never rejects. */
  readonly ended: Promise<void>;
}

/** See {@link Tasks}. */
export class TaskRunner implements Tasks {
  readonly #handlers = new Map<TaskKind, TaskHandler>();
  readonly #running = new Map<string, RunningTask>();
  readonly #queue: TaskQueue;
  #closed = false;

  constructor(private readonly options: TaskRunnerOptions) {
    const { locks, maxTasks, log } = options;
    this.#queue = new TaskQueue({ locks, maxTasks, log, admit: (task, lock) => this.#admit(task, lock) });
  }

  register(kind: TaskKind, handler: TaskHandler): void {
    this.#handlers.set(kind, handler);
  }

  async begin(): Promise<void> {
    const { catalog, locks } = this.options;
    const goOn: TaskRecord[] = [];
    for (const task of await catalog.tasks.unfinished()) {
      const next = await this.#takeUp(task);
      if (next) goOn.push(next);
    }
    await locks.releaseEndedTasks(new Set(goOn.map(({ id }) => id)));
    for (const task of goOn) this.#queue.add(task, this.#handler(task).lock(task));
    this.#queue.open();
  }

  async start(request: TaskRequest): Promise<TaskRecord> {
    if (this.#closed)
      throw new SendenseError('shutting_down', 'the hub is stopping: ask again when it is back', {
        retryable: true,
      });
    const handler = this.#handler(request);
    const task = await this.options.catalog.tasks.create(request);
    await this.#tell(task);
    this.#queue.add(task, handler.lock(task));
    return task;
  }

  async cancel(taskId: string, reason: string): Promise<TaskRecord> {
    const { tasks } = this.options.catalog;
    if (this.#queue.remove(taskId)) {
      await tasks.requestCancel(taskId, reason);
      return this.#change(taskId, { state: 'cancelled' });
    }
    const running = this.#running.get(taskId);
    if (!running) return tasks.get(taskId);
    if (running.committed !== undefined)
      throw new SendenseError('conflict', `${taskId} cannot be cancelled any more: ${running.committed}`, {
        context: { task_id: taskId },
      });
    running.abort.abort(new SendenseError('cancelled', `cancelled: ${reason}`));
    try {
      return await tasks.requestCancel(taskId, reason);
    } catch (error) {
      // It has come to its end meanwhile.
      if (toSendenseError(error).code === 'conflict') return tasks.get(taskId);
      throw error;
    }
  }

  queue(): QueuedTask[] {
    return this.#queue.view();
  }

  /** Those that run are told to stop, and waited for; they and those that wait are there at the next start. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    await this.#queue[Symbol.asyncDispose]();
    const running = [...this.#running.values()];
    for (const { abort } of running)
      abort.abort(new SendenseError('shutting_down', 'the hub stops', { retryable: true }));
    await Promise.all(running.map(({ ended }) => ended));
  }

  /** What an earlier hub left: one that waited waits again, one that ran goes on if its kind can. */
  async #takeUp(task: TaskRecord): Promise<TaskRecord | undefined> {
    if (task.state === 'queued') return task;
    if (this.#handlers.get(task.kind)?.resume) {
      this.options.log.warn({ taskId: task.id, kind: task.kind }, 'a task was interrupted and goes on');
      return this.#change(task.id, { state: 'queued' });
    }
    await this.#change(task.id, { state: 'failed', error: toStoredError(interrupted(task)) });
    return undefined;
  }

  #admit(task: TaskRecord, lock: ChainLock | undefined): Promise<void> {
    const abort = new AbortController();
    // Asked for before a restart, and not taken notice of since.
    if (task.cancelReason !== undefined) abort.abort(new SendenseError('cancelled', task.cancelReason));
    const ended = Promise.withResolvers<void>();
    const running: RunningTask = { abort, committed: undefined, soFar: undefined, ended: ended.promise };
    this.#running.set(task.id, running);
    const work = async () => {
      try {
        await this.#run(task, lock, running);
      } catch (thrown) {
        // The next start finds the task unfinished.
        const { code, message } = toSendenseError(thrown);
        this.#log(task).error({ code, error: message }, 'the end of a task could not be recorded');
      } finally {
        this.#running.delete(task.id);
        ended.resolve();
      }
    };
    return work();
  }

  async #run(task: TaskRecord, chainLock: ChainLock | undefined, running: RunningTask): Promise<void> {
    await using lock = chainLock;
    const handler = this.#handler(task);
    const log = this.#log(task);
    await this.#change(task.id, { state: 'running' });
    let change: TaskStateChange;
    try {
      const result = await this.#work(task, handler, running, log);
      change = { state: 'completed', result };
    } catch (thrown) {
      const ending = this.#ending(task, thrown, running, handler);
      if (!ending) {
        log.info('a task was interrupted by the end of the hub, and goes on at the next start');
        lock?.keep();
        return;
      }
      change = ending;
    }
    await this.#change(task.id, change);
  }

  async #work(task: TaskRecord, handler: TaskHandler, running: RunningTask, log: Logger) {
    const { catalog, progressEveryMs = 1_000 } = this.options;
    await using progress = new TaskProgress(task.id, { tasks: catalog.tasks, everyMs: progressEveryMs, log });
    return await handler.run(task, {
      signal: running.abort.signal,
      log,
      progress: (bytesDone, bytesTotal) => progress.report(bytesDone, bytesTotal),
      soFar: (result) => {
        running.soFar = result;
      },
      commit: (why) => {
        running.committed = why;
      },
    });
  }

  /** How a task that threw has ended; undefined when it only rests until the next start. */
  #ending(
    task: TaskRecord,
    thrown: unknown,
    { abort: { signal }, soFar }: RunningTask,
    { resume }: TaskHandler,
  ): TaskStateChange | undefined {
    const found = soFar ? { result: soFar } : {};
    const error = toSendenseError(thrown);
    const reason = signal.aborted ? toSendenseError(signal.reason).code : undefined;
    if (reason === 'shutting_down')
      return resume ? undefined : { state: 'failed', error: toStoredError(interrupted(task)), ...found };
    if (reason === 'cancelled' && error.code === 'cancelled') return { state: 'cancelled', ...found };
    return { state: 'failed', error: toStoredError(error), ...found };
  }

  async #change(taskId: string, change: TaskStateChange): Promise<TaskRecord> {
    const task = await this.options.catalog.tasks.changeState(taskId, change);
    await this.#tell(task);
    return task;
  }

  /** Every state goes to the log and to the audit trail. */
  async #tell(task: TaskRecord): Promise<void> {
    const { id, kind, subject, state, requestedBy } = task;
    const error = task.state === 'failed' ? task.error : undefined;
    const failure = error ? { code: error.code, error: error.message } : {};
    this.#log(task)[error ? 'warn' : 'info']({ state, ...failure }, `task ${state}`);
    await this.options.audit.record({
      action: `task.${state}`,
      actor: requestedBy,
      outcome: error ? 'failed' : 'ok',
      subjectType: 'task',
      subjectId: id,
      detail: {
        kind,
        [subject.type]: subject.id,
        ...(error ? { code: error.code } : {}),
        ...(task.cancelReason === undefined ? {} : { cancel_reason: task.cancelReason }),
      },
    });
  }

  #log({ id, kind, subject }: TaskRecord): Logger {
    return this.options.log.child({ taskId: id, kind, subject: subject.id });
  }

  #handler(task: Pick<TaskRecord, 'kind'>): TaskHandler {
    const handler = this.#handlers.get(task.kind);
    if (handler) return handler;
    throw new SendenseError('internal', `nothing runs tasks of the kind ${task.kind}`);
  }
}

function interrupted({ id, kind }: TaskRecord): SendenseError {
  return new SendenseError('hub_restarted', `the hub ended while ${kind} was running: start it again`, {
    context: { task_id: id },
    retryable: true,
  });
}
