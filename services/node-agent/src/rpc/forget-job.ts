import type { ForgetJobRequest, ForgetJobResponse } from '@sendense/contracts';
import type { RpcContext } from './context.js';
import { jobId } from './validation.js';

/** A job that is unknown is forgotten already: asking twice is no mistake. */
export async function forgetJob(request: ForgetJobRequest, { jobs }: RpcContext): Promise<ForgetJobResponse> {
  await jobs.forget(jobId('job_id', request.jobId));
  return {};
}
