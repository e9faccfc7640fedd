import { describe, expect, it } from '@jest/globals';
import { JobRegistry, type JobRequest, type JobRunner } from './job-registry.js';

/** Jobs that end when they are told to. */
class ScriptedRunner implements JobRunner {
  readonly forgotten: string[] = [];
  /** Why jobs were told to stop. */
  readonly reasons: unknown[] = [];
  readonly seen: { jobId: string; runningJobs: readonly string[] }[] = [];
  readonly #ends = new Map<string, () => void>();

  run: JobRunner['run'] = async ({ jobId, runningJobs }, events, signal) => {
    this.seen.push({ jobId, runningJobs });
    events.append({ $case: 'accepted', value: { nodeName: 'sna1', diskCount: 1 } });
    await new Promise<void>((resolve) => {
      this.#ends.set(jobId, resolve);
      signal.addEventListener('abort', () => {
        this.reasons.push(signal.reason);
        resolve();
      });
    });
    events.append(
      signal.aborted
        ? { $case: 'failed', value: { code: 'cancelled', message: 'x', context: {}, retryable: false } }
        : { $case: 'finished', value: { bytesRead: 0n, bytesWritten: 0n, bytesZeroed: 0n } },
    );
  };
  forget = async (jobId: string) => void this.forgotten.push(jobId);
  end(jobId: string) {
    this.#ends.get(jobId)?.();
  }
}

const request = (jobId: string, vm = 'vm-1'): JobRequest => ({
  jobId,
  nodeName: 'sna1',
  vcenter: { endpoint: 'vc', username: 'u', password: 'p', thumbprint: '' },
  vm: { moref: vm, instanceUuid: `uuid of ${vm}`, name: vm },
  disks: [],
  everyDisk: true,
  quiesce: false,
  enableChangeTracking: true,
  parallelDisks: 1,
  rateLimitBytesPerSecond: 0,
  delivery: { kind: 'direct' },
  vddk: { nbdkit: 'nbdkit', nbdkitVddkPlugin: 'vddk' },
  owner: 'test',
});

function setUp() {
  const runner = new ScriptedRunner();
  const clock = { now: Date.now() };
  return { runner, clock, jobs: new JobRegistry('sna1', runner, () => clock.now) };
}

describe('the jobs of a node', () => {
  it('starts the same id once, and answers with the same job after its end', async () => {
    const { runner, jobs } = setUp();
    const first = await jobs.start(request('a'));
    expect(await jobs.start(request('a'))).toBe(first);
    runner.end('a');
    await first.ended;
    expect(await jobs.start(request('a'))).toBe(first);
    expect(first.state).toBe('finished');
    expect(runner.seen).toHaveLength(1);
  });

  it('refuses an id of another VM, and a second backup of one VM', async () => {
    const { runner, jobs } = setUp();
    const first = await jobs.start(request('a', 'vm-1'));
    await expect(jobs.start(request('a', 'vm-2'))).rejects.toMatchObject({ code: 'conflict' });
    await expect(jobs.start(request('b', 'vm-1'))).rejects.toMatchObject({ code: 'backup_already_running' });
    runner.end('a');
    await first.ended;
    await expect(jobs.start(request('b', 'vm-1'))).resolves.toMatchObject({ id: 'b' });
  });

  it('tells each job which others run, so that their snapshots stay', async () => {
    const { runner, jobs } = setUp();
    await jobs.start(request('a', 'vm-1'));
    await jobs.start(request('b', 'vm-2'));
    expect(runner.seen[1]).toEqual({ jobId: 'b', runningJobs: ['a'] });
  });

  it('forgets only jobs that have ended, and does not mind an unknown one', async () => {
    const { runner, jobs } = setUp();
    const job = await jobs.start(request('a'));
    await expect(jobs.forget('a')).rejects.toMatchObject({ code: 'conflict' });
    runner.end('a');
    await job.ended;
    await jobs.forget('a');
    await jobs.forget('a');
    expect(runner.forgotten).toEqual(['a']);
    expect(() => jobs.get('a')).toThrow(expect.objectContaining({ code: 'job_not_found' }));
  });

  it('keeps ended jobs for a day, and not more than it can count', async () => {
    const { runner, clock, jobs } = setUp();
    for (let count = 0; count < 205; count++) {
      const job = await jobs.start(request(`job-${count}`));
      runner.end(job.id);
      await job.ended;
    }
    await jobs.start(request('next'));
    expect(jobs.list()).toHaveLength(201);
    clock.now += 25 * 60 * 60 * 1000;
    await jobs.start(request('tomorrow', 'vm-2'));
    expect(jobs.list().map(({ id }) => id)).toEqual(['next', 'tomorrow']);
  });

  it('is drained when its jobs have ended and the hub has forgotten them, or does not come to', async () => {
    const { runner, clock, jobs } = setUp();
    const job = await jobs.start(request('a'));
    let settled = false;
    const drained = jobs.drain().then(() => (settled = true));
    await expect(jobs.start(request('b', 'vm-2'))).rejects.toMatchObject({ code: 'shutting_down' });
    runner.end('a');
    await job.ended;
    expect([job.state, settled]).toEqual(['finished', false]);
    await jobs.forget('a');
    await drained;

    const absent = setUp();
    const left = await absent.jobs.start(request('a'));
    absent.runner.end('a');
    await left.ended;
    absent.clock.now = clock.now + 6 * 60 * 1000;
    await absent.jobs.drain();
    expect(absent.runner.forgotten).toEqual([]);
  });

  it('cancels what runs when it ends, saying which node was stopped and what to do, and takes nothing new', async () => {
    const { runner, jobs } = setUp();
    const job = await jobs.start(request('a'));
    await jobs[Symbol.asyncDispose]();
    expect(job.state).toBe('failed');
    const stopped = {
      code: 'shutting_down',
      message: expect.stringMatching(/^node sna1 was stopped: start the backup again once/),
      context: { node_name: 'sna1' },
    };
    expect(runner.reasons).toEqual([expect.objectContaining(stopped)]);
    await expect(jobs.start(request('b'))).rejects.toMatchObject(stopped);
  });
});
