import { SendenseError } from '@sendense/core';

/** A signal that follows another and fires when the time is up: `using limit = timeLimit(…)`. */
export function timeLimit(
  server: string,
  timeoutMs: number,
  outer: AbortSignal | undefined,
): Disposable & { readonly signal: AbortSignal } {
  const controller = new AbortController();
  const follow = () => controller.abort(outer?.reason);
  const timer = setTimeout(() => {
    const message = `the NBD server at ${server} did not finish the handshake within ${timeoutMs / 1000} s`;
    controller.abort(new SendenseError('timeout', message, { context: { server }, retryable: true }));
  }, timeoutMs);
  if (outer?.aborted) follow();
  outer?.addEventListener('abort', follow, { once: true });
  return {
    signal: controller.signal,
    [Symbol.dispose]() {
      clearTimeout(timer);
      outer?.removeEventListener('abort', follow);
    },
  };
}
