import { credentials, type ServiceError } from '@grpc/grpc-js';
import {
  fromServiceError,
  NodeServiceClient,
  type CancelJobResponse,
  type JobEvent,
  type RunBackupRequest,
} from '@sendense/contracts';
import type { SendenseError } from '@sendense/core';

type Callback<Response> = (error: ServiceError | null, response: Response) => void;

/** A gRPC client of a node, with promises. */
export class TestClient implements Disposable {
  readonly grpc: NodeServiceClient;

  constructor(socketPath: string) {
    this.grpc = new NodeServiceClient(`unix:${socketPath}`, credentials.createInsecure());
  }

  /** `call((answer) => grpc.listJobs({}, answer))` */
  async call<Response>(start: (answer: Callback<Response>) => unknown): Promise<Response> {
    return new Promise((resolve, reject) => {
      start((error, response) => {
        if (error) reject(fromServiceError(error, 'call'));
        else resolve(response);
      });
    });
  }

  cancel(jobId: string, reason = ''): Promise<CancelJobResponse> {
    return this.call((answer) => this.grpc.cancelJob({ jobId, reason }, answer));
  }

  /** Starts a backup and collects its events as they come. */
  backup(request: RunBackupRequest): Events {
    return collect(this.grpc.runBackup(request));
  }

  watch(jobId: string, afterSequence: bigint): Events {
    return collect(this.grpc.watchJob({ jobId, afterSequence }));
  }

  [Symbol.dispose](): void {
    this.grpc.close();
  }
}

export interface Events {
  readonly seen: JobEvent[];
  /** The names of the events so far, without progress. */
  readonly names: string[];
  /** Settles at the end of the stream, with its error if it had one. */
  readonly done: Promise<SendenseError | undefined>;
  leave(): void;
}

function collect(call: ReturnType<NodeServiceClient['runBackup']>): Events {
  const seen: JobEvent[] = [];
  const names: string[] = [];
  const done = new Promise<SendenseError | undefined>((resolve) => {
    call.on('data', ({ event }: { event: JobEvent }) => {
      seen.push(event);
      if (event.event && event.event.$case !== 'progress') names.push(event.event.$case);
    });
    call.on('error', (error: ServiceError) => resolve(fromServiceError(error, 'stream')));
    call.on('end', () => resolve(undefined));
  });
  return { seen, names, done, leave: () => call.cancel() };
}

/** The error that a job ended with. */
export function failure({ seen }: Events) {
  const last = seen.at(-1)?.event;
  return last?.$case === 'failed' ? last.value : undefined;
}
