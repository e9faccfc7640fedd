import { Readable } from 'node:stream';
import { delay } from '@sendense/runtime';

/** Proxies and clients give up on a stream that is silent for a minute or so. */
export const HEARTBEAT_MS = 15_000;

export interface StreamedEvent {
  readonly id: number;
  readonly event: string;
  readonly data: unknown;
}

/**
 * Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html) from numbered events, with a
 * comment as a sign of life when nothing happens. Ends with the source, or when the signal says that the client is gone
 * or the hub stops; the source must end with the same signal, so that nothing goes on waiting for it.
 */
export function eventStream(
  source: AsyncIterable<StreamedEvent>,
  signal: AbortSignal,
  heartbeatMs = HEARTBEAT_MS,
): Readable {
  return Readable.from(withHeartbeats(source, signal, heartbeatMs), { objectMode: false });
}

async function* withHeartbeats(
  source: AsyncIterable<StreamedEvent>,
  signal: AbortSignal,
  heartbeatMs: number,
): AsyncGenerator<string> {
  const iterator = source[Symbol.asyncIterator]();
  // Tells proxies and clients at once that the stream is open; `retry` is how long a client waits before it asks again.
  yield 'retry: 2000\n\n';
  try {
    let next = ask(iterator);
    for (;;) {
      const result = await orSilence(next, heartbeatMs, signal);
      if (signal.aborted) return;
      if (result === undefined) {
        yield ': still here\n\n';
        continue;
      }
      if (result.done) return;
      yield `id: ${result.value.id}\nevent: ${result.value.event}\ndata: ${JSON.stringify(result.value.data)}\n\n`;
      next = ask(iterator);
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    await iterator.return?.();
  }
}

/** What comes next, or undefined when nothing comes for so long, or the signal says to stop waiting. */
async function orSilence<T>(
  next: Promise<T>,
  heartbeatMs: number,
  signal: AbortSignal,
): Promise<T | undefined> {
  const timer = new AbortController();
  try {
    const silence = delay(heartbeatMs, AbortSignal.any([signal, timer.signal])).then(
      () => undefined,
      () => undefined,
    );
    return await Promise.race([next, silence]);
  } finally {
    timer.abort();
  }
}

/** When the client goes, nobody waits for this promise any more, and it may still reject. */
function ask<T>(iterator: AsyncIterator<T>): Promise<IteratorResult<T>> {
  const next = iterator.next();
  next.catch(() => undefined);
  return next;
}
