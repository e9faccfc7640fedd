import { setTimeout as wait } from 'node:timers/promises';
import { toSendenseError } from '@sendense/core';
import type { Logger } from '@sendense/runtime';
import { VimFault } from '../soap/fault.js';
import {
  boolean,
  enumeration,
  int,
  object,
  reference,
  subtype,
  text,
  time,
  type Reference,
  type Value,
} from '../soap/value.js';

export interface Task {
  readonly moref: string;
  readonly number: number;
  /** The method that started it: `CreateSnapshot_Task` */
  readonly method: string;
  /** `VirtualMachine.createSnapshot` */
  readonly descriptionId: string;
  readonly entity: Reference;
  readonly entityName: string;
  readonly username: string;
  readonly queueTime: Date;
  startTime?: Date;
  completeTime?: Date;
  state: 'queued' | 'running' | 'success' | 'error';
  progress?: number;
  result?: Value;
  error?: VimFault;
}

/** What a task does. It reports its progress in percent. */
export type TaskWork = (progress: (percent: number) => void) => Promise<Value | undefined>;

const REMEMBERED = 1000;

/** The tasks of this vCenter, running and done. */
export class Tasks {
  readonly #tasks = new Map<string, Task>();
  readonly #running = new Set<Promise<void>>();
  #next = 1;

  constructor(
    /** How long each takes, at least. */
    private readonly durationMs: number,
    private readonly changed: () => void,
    private readonly log: Logger,
  ) {}

  find(moref: string): Task | undefined {
    return this.#tasks.get(moref);
  }

  all(): Task[] {
    return [...this.#tasks.values()];
  }

  recentOf(entity: string): Task[] {
    return this.all()
      .filter((task) => task.entity.moref === entity && task.state !== 'success')
      .slice(-10);
  }

  start(
    about: Pick<Task, 'method' | 'descriptionId' | 'entity' | 'entityName' | 'username'>,
    work: (task: Task) => TaskWork,
    finished: () => void,
  ): Task {
    const number = this.#next++;
    const task: Task = { ...about, moref: `task-${number}`, number, queueTime: new Date(), state: 'queued' };
    this.#tasks.set(task.moref, task);
    for (const [moref, old] of this.#tasks) {
      if (this.#tasks.size <= REMEMBERED) break;
      if (old.completeTime) this.#tasks.delete(moref);
    }
    const running = this.#run(task, work(task)).finally(() => {
      finished();
      this.#running.delete(running);
      this.changed();
    });
    this.#running.add(running);
    return task;
  }

  /** Returns when no task runs any more. */
  async settled(): Promise<void> {
    await Promise.all(this.#running);
  }

  async #run(task: Task, work: TaskWork): Promise<void> {
    // A queued state, however short, is seen by clients of a real vCenter too.
    await wait(this.durationMs / 10);
    task.state = 'running';
    task.startTime = new Date();
    task.progress = 0;
    this.changed();
    try {
      await wait((this.durationMs * 9) / 10);
      const result = await work((percent) => {
        task.progress = percent;
        this.changed();
      });
      if (result) task.result = result;
      task.state = 'success';
    } catch (error) {
      task.state = 'error';
      task.error = error instanceof VimFault ? error : this.#unexpected(task, error);
    }
    task.completeTime = new Date();
  }

  #unexpected(task: Task, error: unknown): VimFault {
    const { code, message } = toSendenseError(error);
    // The lab stops: nobody waits for the task any more.
    const level = code === 'cancelled' ? 'debug' : 'error';
    this.log[level]({ error, task: task.descriptionId }, 'a task of the lab failed');
    return new VimFault('SystemError', message, { reason: text(message) });
  }
}

export function describeTask(task: Task): Value {
  return object('TaskInfo', {
    key: text(task.moref),
    task: reference('Task', task.moref),
    name: text(task.method),
    descriptionId: text(task.descriptionId),
    entity: task.entity,
    entityName: text(task.entityName),
    state: enumeration('TaskInfoState', task.state),
    cancelled: boolean(false),
    cancelable: boolean(false),
    error: task.error?.localized(),
    result: task.result,
    progress: task.state === 'running' && task.progress !== undefined ? int(task.progress) : undefined,
    reason: subtype('TaskReasonUser', { userName: text(task.username) }),
    queueTime: time(task.queueTime),
    startTime: task.startTime && time(task.startTime),
    completeTime: task.completeTime && time(task.completeTime),
    eventChainId: int(task.number),
  });
}
