import type { WatchJobRequest, WatchJobResponse } from '@sendense/contracts';
import { safeOffset } from '@sendense/core';
import type { RpcContext } from './context.js';
import { invalid, jobId } from './validation.js';

export async function* watchJob(
  request: WatchJobRequest,
  { jobs }: RpcContext,
  signal: AbortSignal,
): AsyncGenerator<WatchJobResponse> {
  const job = jobs.get(jobId('job_id', request.jobId));
  const after = safeOffset(request.afterSequence, 'after_sequence');
  if (after > job.events.lastSequence)
    throw invalid('after_sequence', `at most ${job.events.lastSequence}, the job's last event`);
  for await (const event of job.events.watch(after, signal)) yield { event };
}
