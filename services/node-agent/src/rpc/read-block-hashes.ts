import { createReadStream } from 'node:fs';
import type { ReadBlockHashesRequest, ReadBlockHashesResponse } from '@sendense/contracts';
import { SendenseError } from '@sendense/core';
import { hashesPath, jobDirectory } from '../config.js';
import type { RpcContext } from './context.js';
import { diskKey, jobId } from './validation.js';

/** Well below gRPC's 4 MiB a message. */
const CHUNK_BYTES = 256 * 1024;

/** @throws `not_found` until the disk has finished */
export async function* readBlockHashes(
  request: ReadBlockHashesRequest,
  { jobs, config }: RpcContext,
  signal: AbortSignal,
): AsyncGenerator<ReadBlockHashesResponse> {
  const id = jobId('job_id', request.jobId);
  const key = diskKey('disk_key', request.diskKey);
  const finished = jobs
    .get(id)
    .events.events.some(({ event }) => event?.$case === 'diskFinished' && event.value.diskKey === key);
  if (!finished) {
    throw new SendenseError('not_found', `disk ${key} of job ${id} has no block hashes: it is not finished`, {
      context: { job_id: id, disk_key: key },
    });
  }
  const path = hashesPath(jobDirectory(config.dataDirectory, id), key);
  for await (const chunk of createReadStream(path, { highWaterMark: CHUNK_BYTES, signal }))
    yield { chunk: chunk as Buffer };
}
