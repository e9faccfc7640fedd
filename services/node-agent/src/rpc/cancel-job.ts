import type { CancelJobRequest, CancelJobResponse } from '@sendense/contracts';
import { printable, SendenseError } from '@sendense/core';
import type { RpcContext } from './context.js';
import { jobId } from './validation.js';

const MAX_REASON_LENGTH = 500;

/** Answers at once; the job's `failed` event tells when it has ended. */
export function cancelJob(request: CancelJobRequest, { jobs }: RpcContext): CancelJobResponse {
  const job = jobs.get(jobId('job_id', request.jobId));
  const reason = printable(request.reason).slice(0, MAX_REASON_LENGTH) || 'cancelled';
  return { wasRunning: job.cancel(new SendenseError('cancelled', reason)) };
}
