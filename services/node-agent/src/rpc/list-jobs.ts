import type { ListJobsResponse } from '@sendense/contracts';
import type { RpcContext } from './context.js';

export function listJobs({ jobs }: RpcContext): ListJobsResponse {
  return {
    jobs: jobs.list().map((job) => ({
      jobId: job.id,
      state: job.state,
      vmName: job.vm.name,
      lastSequence: BigInt(job.events.lastSequence),
      startedAt: job.startedAt,
    })),
  };
}
