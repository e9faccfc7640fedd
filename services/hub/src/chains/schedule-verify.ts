import type { Catalog, RestorePointRecord } from '@sendense/catalog';
import { toSendenseError } from '@sendense/core';
import type { Logger } from '@sendense/runtime';
import type { BackupRuns, RepositoryAccess } from '../runs/index.js';
import type { Tasks } from '../tasks/types.js';
import { nextToVerify, type VerifySchedule } from './schedule.js';
import { verifyTask } from './verify-task.js';

export interface ScheduledVerificationOptions {
  readonly schedule: VerifySchedule;
  readonly catalog: Pick<Catalog, 'restorePoints' | 'tasks'>;
  readonly repositories: RepositoryAccess;
  readonly runs: Pick<BackupRuns, 'running' | 'queue'>;
  readonly tasks: Pick<Tasks, 'start'>;
  readonly log: Logger;
  /** @default a minute */
  readonly everyMs?: number;
  /** @default () => new Date() */
  readonly now?: () => Date;
}

const MINUTE_MS = 60_000;
/** More than are in the way at once, being removed or in a repository that is away. */
const CANDIDATES = 1_000;
/** For a point whose verification could not say anything: meanwhile it is the others' turn. */
const AGAIN_AFTER_MS = 6 * 3_600_000;

/** Looks now and then whether it is quiet and a point is due, and has it verified. One that has begun runs to its end. */
export class ScheduledVerification implements AsyncDisposable {
  #timer: NodeJS.Timeout | undefined;
  #looking: Promise<void> = Promise.resolve();
  /** When each was begun last. */
  readonly #begun = new Map<string, number>();

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
      const point = await this.#next(now(), busy);
      if (!point) return;
      this.#begun.set(point.id, now().getTime());
      const { rateLimitBytesPerSecond } = schedule;
      await tasks.start(
        verifyTask(point, { quick: false, rateLimitBytesPerSecond, requestedBy: 'schedule' }),
      );
    } catch (error) {
      log.error({ error: toSendenseError(error).message }, 'the scheduled verification could not be decided');
    }
  }

  /** Those that cannot be verified now are passed over: they would be the next ever again, and no other's turn would come. */
  async #next(now: Date, busy: boolean): Promise<RestorePointRecord | undefined> {
    const { schedule, catalog } = this.options;
    for (const [id, at] of this.#begun) if (now.getTime() - at >= AGAIN_AFTER_MS) this.#begun.delete(id);
    const changing = new Set((await catalog.restorePoints.removing()).map(({ contextId }) => contextId));
    let candidates = (await catalog.restorePoints.oldestVerified(CANDIDATES)).filter(
      ({ id, contextId }) => !this.#begun.has(id) && !changing.has(contextId),
    );
    for (;;) {
      const id = nextToVerify({ schedule, now, busy, candidates });
      const point = candidates.find((candidate) => candidate.id === id);
      if (!point || (await this.#isUsable(point.repositoryId))) return point;
      candidates = candidates.filter(({ repositoryId }) => repositoryId !== point.repositoryId);
    }
  }

  async #isUsable(repositoryId: string): Promise<boolean> {
    try {
      await this.options.repositories.usable(repositoryId);
      return true;
    } catch {
      // Its state is shown with the repository, and by /health.
      return false;
    }
  }
}
