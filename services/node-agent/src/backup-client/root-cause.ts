import { SendenseError, throwIfAborted, toSendenseError } from '@sendense/core';
import { delay } from '@sendense/runtime';
import type { DeliveryRoute } from './delivery.js';
import type { DiskSource } from './source.js';

/** The end of a connection is seen a moment before the end of the process or tunnel that caused it. */
const CAUSE_APPEARS_WITHIN_MS = 1000;

export interface Suspects {
  readonly source: Pick<DiskSource, 'name' | 'died' | 'stderrTail'>;
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
      return unreadable(error, source);
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

const READ_ADVICE =
  'check that the node reaches vCenter and its ESXi hosts (443 and 902), and that the datastore works; then start the backup again';

/** Each of the many reads in flight has failed for the same reason, and nbdkit numbers them. */
function unreadable(error: SendenseError, source: Pick<DiskSource, 'name' | 'stderrTail'>): SendenseError {
  const tail = source.stderrTail().split('; ');
  const said = new Set(tail.map((line) => line.replace(/^nbdkit: (?:error: )?(?:command \d+: )?/, '')));
  said.delete('');
  const { code, message, context, retryable } = error;
  const why = said.size === 0 ? message : `${message}: ${[...said].join('; ')}`;
  return new SendenseError(code, `${source.name} cannot be read: ${why}; ${READ_ADVICE}`, {
    context,
    retryable,
    cause: error,
  });
}
