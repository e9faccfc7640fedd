import type {
  ChainLockMode,
  ChainRef,
  TaskArgs,
  TaskRecord,
  TaskResult,
  TaskSubject,
} from '@sendense/catalog';
import type { TaskKind } from '@sendense/core';
import type { Logger } from '@sendense/runtime';

/** What a task takes of a chain while it runs; the runner acquires and releases it. */
export interface TaskLock extends ChainRef {
  readonly mode: ChainLockMode;
}

/** A running task's view of the runner. */
export interface TaskContext {
  /**
   * Aborted with `cancelled` when somebody cancels the task, and with `shutting_down` when the hub stops. A task that goes
   * on after a restart leaves things as they are then; any other gives back what it holds.
   */
  readonly signal: AbortSignal;
  /** A child logger that names the task. */
  readonly log: Logger;
  /** How far it is. May be called as often as one likes: it is written once a second. */
  readonly progress: (bytesDone: number, bytesTotal: number) => void;
  /** What it has found or done so far: kept with the task however it ends. The result that is returned at the end replaces it. */
  readonly soFar: (result: TaskResult) => void;
  /** From now on cancelling is refused with these words: what was begun can only be finished. */
  readonly commit: (why: string) => void;
}

/** One kind of task. Its arguments are those that it was started with, over restarts. */
export interface TaskHandler {
  /** @returns the result, stored with the task, in `snake_case` @throws what the task failed with */
  run(task: TaskRecord, context: TaskContext): Promise<TaskResult>;
  /** Derived from the arguments alone. Two tasks of one chain never run at the same time, whatever their modes. */
  lock(task: TaskRecord): TaskLock | undefined;
  /** Whether an interrupted one goes on after a restart, from its arguments; otherwise it fails with `hub_restarted`. */
  readonly resume: boolean;
}

export interface TaskRequest {
  readonly kind: TaskKind;
  readonly subject: TaskSubject;
  readonly args: TaskArgs;
  /** `token:<id>`, `schedule`, … */
  readonly requestedBy: string;
}

/** A task that waits, and for what: `backup backup-pgtest1-…`, `2 tasks that run now`. */
export interface QueuedTask {
  readonly taskId: string;
  /** 1 is next. */
  readonly position: number;
  readonly waitingFor: string;
}

/** Long work on the repositories other than backups: what the routes, the schedule and the runs ask. */
export interface Tasks extends AsyncDisposable {
  /** Adds a kind. All are registered before {@link begin}. */
  register(kind: TaskKind, handler: TaskHandler): void;
  /** Goes on with what an earlier hub left unfinished, then takes tasks. */
  begin(): Promise<void>;
  /** Queues a task and answers at once. @throws `shutting_down` */
  start(request: TaskRequest): Promise<TaskRecord>;
  /**
   * Asks a task to stop and answers at once; one that has ended stays as it is.
   * @throws `task_not_found` · `conflict` when what it has begun can only be finished
   */
  cancel(taskId: string, reason: string): Promise<TaskRecord>;
  /** In order. */
  queue(): QueuedTask[];
}
