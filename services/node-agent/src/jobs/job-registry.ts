import { printable, SendenseError } from '@sendense/core';
import { delay } from '@sendense/runtime';
import type { SupervisedJob } from '../backup-client/spec.js';
import type { EventLog } from './event-log.js';
import { Job } from './job.js';

/** Ended jobs wait here for a hub that was away; after this nobody is expected to ask. */
const KEEP_ENDED_MS = 24 * 60 * 60 * 1000;
const KEEP_ENDED_COUNT = 200;
/** How long a node that is drained waits for the hub to fetch the block hashes of a job that has ended. */
const FETCH_MS = 5 * 60 * 1000;
const LOOK_AGAIN_MS = 200;

/** How jobs are run, and what is removed with them; tests bring their own. */
export interface JobRunner {
  run(spec: SupervisedJob, events: EventLog, signal: AbortSignal): Promise<void>;
  /** Removes what an ended job left for the hub: its block hashes. */
  forget(jobId: string): Promise<void>;
}

/** What the caller of a backup decides; the rest of the spec is the node's. */
export type JobRequest = Omit<SupervisedJob, 'runningJobs'>;

/** The jobs of this process. Those of an earlier life are unknown here: the hub then sweeps and starts anew. */
export class JobRegistry implements AsyncDisposable {
  readonly #jobs = new Map<string, Job>();
  #closed = false;

  constructor(
    private readonly nodeName: string,
    private readonly runner: JobRunner,
    private readonly now: () => number = Date.now,
  ) {}

  /**
   * Starts a job; one whose id is known is that job, running or ended.
   *
   * @throws `conflict` when the id belongs to another VM · `backup_already_running` · `shutting_down`
   */
  async start(request: JobRequest): Promise<Job> {
    const { jobId, vm } = request;
    const known = this.#jobs.get(jobId);
    if (known && known.vm.moref === vm.moref && known.vm.instanceUuid === vm.instanceUuid) return known;
    if (known) {
      throw new SendenseError('conflict', `job ${jobId} is a backup of another VM, ${known.vm.moref}`, {
        context: { job_id: jobId, vm_moref: known.vm.moref },
      });
    }
    if (this.#closed) throw this.#stopped();
    const other = this.running().find((job) => job.vm.instanceUuid === vm.instanceUuid);
    if (other) {
      throw new SendenseError(
        'backup_already_running',
        `job ${other.id} is backing up ${printable(vm.name)} (${vm.moref}) now: wait for it, or cancel it`,
        { context: { job_id: other.id, vm_moref: vm.moref } },
      );
    }
    const runningJobs = this.running().map(({ id }) => id);
    const job = new Job(jobId, vm, (events, signal) =>
      this.runner.run({ ...request, runningJobs }, events, signal),
    );
    this.#jobs.set(jobId, job);
    await this.#forgetOld();
    return job;
  }

  /** @throws `job_not_found` */
  get(jobId: string): Job {
    const job = this.#jobs.get(jobId);
    if (job) return job;
    throw new SendenseError(
      'job_not_found',
      `this node has no job ${jobId}: it was forgotten, or the node has been started anew since`,
      { context: { job_id: jobId } },
    );
  }

  list(): Job[] {
    return [...this.#jobs.values()];
  }

  running(): Job[] {
    return this.list().filter(({ state }) => state === 'running');
  }

  /** An unknown job is forgotten already. @throws `conflict` while it runs */
  async forget(jobId: string): Promise<void> {
    const job = this.#jobs.get(jobId);
    if (!job) return;
    if (job.state === 'running') {
      throw new SendenseError('conflict', `job ${jobId} is running: cancel it first`, {
        context: { job_id: jobId },
      });
    }
    this.#jobs.delete(jobId);
    await job.ended;
    await this.runner.forget(jobId);
  }

  /**
   * No new jobs from now on. Settles when those of now have ended and the hub has fetched what it needs of them, after
   * which it forgets them; one that does not come is not waited for.
   */
  async drain(): Promise<void> {
    this.#closed = true;
    const isNeeded = (job: Job) => this.#jobs.has(job.id) && this.now() - endTime(job) < FETCH_MS;
    while (this.list().some(isNeeded)) await delay(LOOK_AGAIN_MS);
  }

  /** Stops every job and waits for their ends. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    for (const job of this.list()) job.cancel(this.#stopped());
    await Promise.all(this.list().map(({ ended }) => ended));
  }

  #stopped(): SendenseError {
    return new SendenseError(
      'shutting_down',
      `node ${this.nodeName} was stopped: start the backup again once the node is online ('sendense node show ${this.nodeName}')`,
      { context: { node_name: this.nodeName }, retryable: true },
    );
  }

  async #forgetOld(): Promise<void> {
    const ended = this.list()
      .filter((job) => job.endedAt !== undefined)
      .toSorted((a, b) => endTime(b) - endTime(a));
    for (const [index, job] of ended.entries()) {
      if (index < KEEP_ENDED_COUNT && this.now() - endTime(job) < KEEP_ENDED_MS) continue;
      await this.forget(job.id);
    }
  }
}

function endTime(job: Job): number {
  return job.endedAt?.getTime() ?? Number.POSITIVE_INFINITY;
}
