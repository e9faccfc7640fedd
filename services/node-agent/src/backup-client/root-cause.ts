import { type SendenseError, throwIfAborted, toSendenseError } from '@sendense/core';
import { delay } from '@sendense/runtime';

/** The end of a connection is seen a moment before the end of the process or tunnel that caused it. */
const CAUSE_APPEARS_WITHIN_MS = 1000;

/**
 * Why a copy broke off. A lost connection is only an effect: of nbdkit that died (which knows the reason), or of a lane
 * that was lost. Other errors, and those of a run that was stopped, are their own cause.
 *
 * @param suspects settle when what they watch has failed, and never otherwise
 */
export async function rootCause(
  thrown: unknown,
  suspects: readonly Promise<SendenseError>[],
  signal: AbortSignal,
): Promise<SendenseError> {
  try {
    throwIfAborted(signal);
  } catch (reason) {
    return toSendenseError(reason);
  }
  const error = toSendenseError(thrown);
  if (error.code !== 'nbd_connection_lost' && error.code !== 'nbd_refused') return error;
  const stop = new AbortController();
  const none = delay(CAUSE_APPEARS_WITHIN_MS, stop.signal).then(
    () => error,
    () => error,
  );
  const cause = await Promise.race([...suspects, none]);
  stop.abort();
  return cause;
}
