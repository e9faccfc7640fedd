import type { Catalog } from '@sendense/catalog';
import { toSendenseError } from '@sendense/core';
import type { Logger } from '@sendense/runtime';
import type { BackupRuns } from '../runs/index.js';
import type { Tasks } from '../tasks/types.js';
import { nextToVerify, type VerifySchedule } from './schedule.js';
import { verifyTask } from './verify-task.js';

export interface ScheduledVerificationOptions {
  readonly schedule: VerifySchedule;
  readonly catalog: Pick<Catalog, 'restorePoints' | 'tasks'>;
  readonly runs: Pick<BackupRuns, 'running' | 'queue'>;
  readonly tasks: Pick<Tasks, 'start'>;
  readonly log: Logger;
  /** @default a minute */
  readonly everyMs?: number;
  /** @default () => new Date() */
  readonly now?: () => Date;
}

const MINUTE_MS = 60_000;
/** More than can be in the way of being removed at once. */
const CANDIDATES = 100;

/** Looks now and then whether it is quiet and a point is due, and has it verified. One that has begun runs to its end. */
export class ScheduledVerification implements AsyncDisposable {
  #timer: NodeJS.Timeout | undefined;
  #looking: Promise<void> = Promise.resolve();

  constructor(private readonly options: ScheduledVerificationOptions) {}

  start(): void {
    const { schedule, everyMs = MINUTE_MS } = this.options;
    if (schedule.everyDays > 0) this.#timer = setInterval(() => void this.look(), everyMs).unref();
  }

  /** Never rejects. */
  look(): Promise<void> {
    this.#looking = this.#looking.then(() => this.#look());
    return this.#looking;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    await this.#looking;
  }

  async #look(): Promise<void> {
    const { schedule, catalog, runs, tasks, log, now = () => new Date() } = this.options;
    try {
      const unfinished = await catalog.tasks.unfinished();
      const busy =
        runs.running().length > 0 ||
        runs.queue().length > 0 ||
        unfinished.some(({ kind }) => kind === 'verify');
      const candidates = await catalog.restorePoints.oldestVerified(CANDIDATES);
      const id = nextToVerify({ schedule, now: now(), busy, candidates });
      const point = candidates.find((candidate) => candidate.id === id);
      if (!point) return;
      const { rateLimitBytesPerSecond } = schedule;
      await tasks.start(
        verifyTask(point, { quick: false, rateLimitBytesPerSecond, requestedBy: 'schedule' }),
      );
    } catch (error) {
      log.error({ error: toSendenseError(error).message }, 'the scheduled verification could not be decided');
    }
  }
}
