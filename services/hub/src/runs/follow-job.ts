import { status } from '@grpc/grpc-js';
import type { JobEvent, RunBackupRequest } from '@sendense/contracts';
import { SendenseError, throwIfAborted, toSendenseError } from '@sendense/core';
import { delay, type Logger } from '@sendense/runtime';
import type { NodeClient } from '../node-client.js';

/** A stream that held for so long was contact, even if nothing was said on it. */
const CONTACT_MS = 5_000;
const RETRY_MS = 500;

export interface ContactOptions {
  /** No contact for so long, and it is given up with `node_lost`. */
  readonly nodeLostMs: number;
  readonly signal: AbortSignal;
  readonly log: Logger;
}

export interface FollowOptions extends ContactOptions {
  /** Once aborted, a job that the node has not accepted yet is not started any more. */
  readonly unwanted: AbortSignal;
}

/**
 * Starts a job on its node and yields its events, each once and in order, across lost connections: what was missed is
 * asked for by number. Progress has no number of its own and is passed on as it comes.
 *
 * @throws `node_lost` when the node was out of reach for too long, or came back without the job · the signal's reason ·
 *   what the node answered
 */
export async function* followJob(
  client: NodeClient,
  request: RunBackupRequest,
  options: FollowOptions,
): AsyncGenerator<JobEvent> {
  const { signal } = options;
  const { jobId } = request;
  const contact = new Contact(client.nodeName, options);
  let last = 0n;
  for (;;) {
    throwIfAborted(signal);
    if (last === 0n) throwIfAborted(options.unwanted);
    try {
      contact.try();
      const events = last === 0n ? client.runBackup(request, signal) : client.watchJob(jobId, last, signal);
      for await (const event of events) {
        contact.made();
        const isProgress = event.event?.$case === 'progress';
        if (!isProgress && event.sequence <= last) continue;
        if (!isProgress) last = event.sequence;
        yield event;
        if (isLast(event)) return;
      }
      throw new SendenseError('node_lost', `the node ended the stream of job ${jobId} before the job`);
    } catch (error) {
      throwIfAborted(signal);
      if (last > 0n && toSendenseError(error).code === 'job_not_found') throw jobGone(client.nodeName, error);
      await contact.lost(error);
    }
  }
}

export function isLast({ event }: JobEvent): boolean {
  return event?.$case === 'finished' || event?.$case === 'failed';
}

/** Does something on a node, again and again while it is out of reach. @throws as {@link followJob} */
export async function whileReachable<T>(
  nodeName: string,
  options: ContactOptions,
  work: () => Promise<T>,
): Promise<T> {
  const contact = new Contact(nodeName, options);
  for (;;) {
    throwIfAborted(options.signal);
    try {
      contact.try();
      return await work();
    } catch (error) {
      throwIfAborted(options.signal);
      await contact.lost(error);
    }
  }
}

/** Whether the node could not be reached, as opposed to: it answered with an error of its own. */
export function isOutOfReach(error: unknown): boolean {
  const { code, cause } = toSendenseError(error);
  if (code === 'node_offline' || code === 'node_lost' || code === 'tunnel_lost' || code === 'shutting_down')
    return true;
  // Only a call that ended without the node's own error has gRPC's as its cause. A connection that breaks under it shows
  // as one of several statuses, depending on the moment.
  const grpc = cause instanceof Error && 'code' in cause && 'metadata' in cause ? cause.code : undefined;
  return grpc !== undefined && grpc !== status.UNIMPLEMENTED;
}

/** How long the node has been out of reach, and when that is too long. */
class Contact {
  #lostAtMs: number | undefined;
  #triedAtMs = 0;

  constructor(
    private readonly nodeName: string,
    private readonly options: ContactOptions,
  ) {}

  try(): void {
    this.#triedAtMs = performance.now();
  }

  made(): void {
    this.#lostAtMs = undefined;
  }

  /** Waits a moment before the next try. @throws the error itself when it is an answer, `node_lost` when it was too long */
  async lost(error: unknown): Promise<void> {
    if (!isOutOfReach(error)) throw error;
    const { nodeName } = this;
    const { nodeLostMs, signal, log } = this.options;
    const now = performance.now();
    if (this.#lostAtMs === undefined || now - this.#triedAtMs > CONTACT_MS) {
      this.#lostAtMs = now;
      log.warn({ nodeName, error: toSendenseError(error).message }, 'lost contact with the node');
    }
    if (now - this.#lostAtMs >= nodeLostMs) throw tooLong(nodeName, nodeLostMs, error);
    await delay(Math.min(RETRY_MS, nodeLostMs), signal);
  }
}

function tooLong(nodeName: string, nodeLostMs: number, cause: unknown): SendenseError {
  return new SendenseError(
    'node_lost',
    `node ${nodeName} was out of reach for ${Math.round(nodeLostMs / 1000)} s, so the backup was given up. Check its network and that sendense-node runs there; its snapshot is removed when it is back`,
    { context: { node_name: nodeName }, cause, retryable: true },
  );
}

function jobGone(nodeName: string, cause: unknown): SendenseError {
  return new SendenseError(
    'node_lost',
    `node ${nodeName} was started anew while the backup ran, and the job ended with it: look at its log for the reason, and start the backup again`,
    { context: { node_name: nodeName }, cause, retryable: true },
  );
}
