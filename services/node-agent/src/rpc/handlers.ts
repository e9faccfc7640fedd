import {
  Metadata,
  type handleServerStreamingCall,
  type handleUnaryCall,
  type sendUnaryData,
  type ServerErrorResponse,
  type ServerUnaryCall,
  type ServerWritableStream,
} from '@grpc/grpc-js';
import { once } from 'node:events';
import { toStatus } from '@sendense/contracts';
import { toSendenseError } from '@sendense/core';
import type { Logger } from '@sendense/runtime';

/**
 * The error policy of every call, in one place: what a handler throws becomes the status of its kind, with the code and
 * its context in a trailer. Failures that are nobody's doing but ours are logged as well, because a caller may not.
 */
function refuse(thrown: unknown, path: string, log: Logger): ServerErrorResponse {
  const error = toSendenseError(thrown);
  const level = error.kind === 'internal' ? 'error' : 'debug';
  log[level]({ call: path, code: error.code, error: error.message, stack: error.stack }, 'call failed');
  return Object.assign(new Error(error.message), toStatus(error));
}

type Cancellable = ServerUnaryCall<unknown, unknown> | ServerWritableStream<unknown, unknown>;

/** Aborts when the caller is gone, cancels, or its deadline has passed. */
function callSignal(call: Cancellable): AbortSignal {
  const controller = new AbortController();
  call.on('cancelled', () => controller.abort());
  if (call.cancelled) controller.abort();
  return controller.signal;
}

/** A call with one answer. */
export function unary<Request, Response>(
  log: Logger,
  handle: (request: Request, signal: AbortSignal) => Promise<Response> | Response,
): handleUnaryCall<Request, Response> {
  const answer = async (call: ServerUnaryCall<Request, Response>, callback: sendUnaryData<Response>) => {
    try {
      callback(null, await handle(call.request, callSignal(call)));
    } catch (error) {
      callback(refuse(error, call.getPath(), log));
    }
  };
  return (call, callback) => void answer(call, callback);
}

/** A call with a stream of answers, which waits for a caller that reads slowly. */
export function serverStream<Request, Response>(
  log: Logger,
  handle: (request: Request, signal: AbortSignal) => AsyncIterable<Response>,
): handleServerStreamingCall<Request, Response> {
  const stream = async (call: ServerWritableStream<Request, Response>) => {
    const signal = callSignal(call);
    // The caller knows now that it was heard, even if there is nothing to tell for hours.
    call.sendMetadata(new Metadata());
    try {
      for await (const response of handle(call.request, signal)) {
        if (signal.aborted) return;
        if (!call.write(response)) await once(call, 'drain', { signal });
      }
      call.end();
    } catch (error) {
      if (!signal.aborted) call.emit('error', refuse(error, call.getPath(), log));
    }
  };
  return (call) => void stream(call);
}
