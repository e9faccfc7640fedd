import { SendenseError, toSendenseError, type ErrorCode } from '@sendense/core';
import { delay, type ChildProcess } from '@sendense/runtime';

const POLL_MS = 20;

export interface ReadinessLimit {
  /** What is waited for, for the error: `qemu-nbd of disk0`. */
  readonly what: string;
  readonly timeoutMs: number;
  readonly signal: AbortSignal | undefined;
}

/**
 * Asks again and again until `attempt` gives an answer.
 * @throws the error of `ended` when the process ends first; the signal's reason; `timeout` with the last error of `attempt`
 */
export async function untilReady<T>(
  child: ChildProcess,
  attempt: (signal: AbortSignal) => Promise<T>,
  ended: () => Promise<SendenseError> | SendenseError,
  { what, timeoutMs, signal }: ReadinessLimit,
): Promise<T> {
  const deadline = AbortSignal.timeout(timeoutMs);
  const stop = new AbortController();
  const limits = AbortSignal.any([deadline, stop.signal, ...(signal ? [signal] : [])]);
  const exited = child.exited.then(() => 'exited' as const);
  let last: unknown;
  try {
    for (;;) {
      const answer = await Promise.race([exited, settled(attempt(limits))]);
      if (answer === 'exited' || !child.running) throw await ended();
      if ('value' in answer) return answer.value;
      last = answer.error;
      if (signal?.aborted) throw toSendenseError(abortReason(signal));
      if (deadline.aborted) break;
      await Promise.race([exited, delay(POLL_MS, limits).catch(() => {})]);
    }
  } finally {
    stop.abort();
  }
  const said = last instanceof Error ? `: ${last.message}` : '';
  throw new SendenseError('timeout', `${what} did not answer within ${timeoutMs / 1000} s${said}`, {
    cause: last,
  });
}

const ADVICE = "the system's log (journalctl) tells who killed it or why it crashed; then try again";

/** Resolves with an error when the process ends although nobody here asked it to; never otherwise. */
export function diedUnasked(child: ChildProcess, code: ErrorCode, what: string): Promise<SendenseError> {
  return new Promise((resolve) => {
    void child.exited.then(() => {
      if (child.terminating) return;
      const { message, context } = child.failure(code, `${what} ended unasked`);
      resolve(new SendenseError(code, `${message}; ${ADVICE}`, { context }));
    });
  });
}

async function settled<T>(promise: Promise<T>): Promise<{ value: T } | { error: unknown }> {
  try {
    return { value: await promise };
  } catch (error) {
    return { error };
  }
}

function abortReason(signal: AbortSignal): unknown {
  const reason: unknown = signal.reason;
  return reason instanceof SendenseError
    ? reason
    : new SendenseError('cancelled', 'cancelled', { cause: reason });
}
