import { SendenseError } from '@sendense/core';

export interface Stop extends Disposable {
  readonly signal: AbortSignal;
  /** The first reason stays. */
  abort(reason: SendenseError): void;
}

/** SIGTERM and SIGINT stop the job in order; it still removes its snapshot. */
export function stopOnSignals(): Stop {
  const controller = new AbortController();
  const onSignal = (name: NodeJS.Signals) =>
    controller.abort(new SendenseError('cancelled', `cancelled by ${name}`));
  for (const name of ['SIGTERM', 'SIGINT'] as const) process.on(name, onSignal);
  return {
    signal: controller.signal,
    abort: (reason) => controller.abort(reason),
    [Symbol.dispose]() {
      for (const name of ['SIGTERM', 'SIGINT'] as const) process.off(name, onSignal);
    },
  };
}
