import { SendenseError, throwIfAborted, toSendenseError } from '@sendense/core';
import { delay } from '@sendense/runtime';
import type { DeliveryRoute } from './delivery.js';
import type { DiskSource } from './source.js';

/** The end of a connection is seen a moment before the end of the process or tunnel that caused it. */
const CAUSE_APPEARS_WITHIN_MS = 1000;

export interface Suspects {
  readonly source: Pick<DiskSource, 'died' | 'stderrTail'>;
  readonly delivery: Pick<DeliveryRoute, 'lost'>;
}

/**
 * Why a copy broke off. A lost connection is only an effect: of nbdkit that died (which knows the reason), or of a lane
 * that was lost. NBD says no more of a failed read than that it failed; nbdkit has said why. Other errors, and those of a
 * run that was stopped, are their own cause.
 */
export async function rootCause(
  thrown: unknown,
  { source, delivery }: Suspects,
  signal: AbortSignal,
): Promise<SendenseError> {
  try {
    throwIfAborted(signal);
  } catch (reason) {
    return toSendenseError(reason);
  }
  const error = toSendenseError(thrown);
  switch (error.code) {
    case 'nbd_connection_lost':
    case 'nbd_refused':
      return appearing([source.died, delivery.lost], error);
    case 'nbd_read_failed':
      return withNbdkitsWords(error, source.stderrTail());
    default:
      return error;
  }
}

async function appearing(
  causes: readonly Promise<SendenseError>[],
  otherwise: SendenseError,
): Promise<SendenseError> {
  const stop = new AbortController();
  const none = delay(CAUSE_APPEARS_WITHIN_MS, stop.signal).then(
    () => otherwise,
    () => otherwise,
  );
  const cause = await Promise.race([...causes, none]);
  stop.abort();
  return cause;
}

/** Each of the many reads in flight has failed for the same reason, and nbdkit numbers them. */
function withNbdkitsWords(error: SendenseError, tail: string): SendenseError {
  const said = new Set(
    tail.split('; ').map((line) => line.replace(/^nbdkit: (?:error: )?(?:command \d+: )?/, '')),
  );
  said.delete('');
  if (said.size === 0) return error;
  const { code, message, context, retryable } = error;
  return new SendenseError(code, `${message}: ${[...said].join('; ')}`, { context, retryable, cause: error });
}
