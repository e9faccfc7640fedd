import { constants } from 'node:os';

const STOPPING = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** Ctrl-C and its like clean up first, and then end this process as they do without. A second one does not wait. */
export function cleanUpOnSignals(cleanUp: (signal: NodeJS.Signals) => Promise<void>): void {
  const ended = (signal: NodeJS.Signals) => process.exit(128 + constants.signals[signal]);
  const first = (signal: NodeJS.Signals) => {
    for (const name of STOPPING) process.off(name, first).on(name, ended);
    void cleanUp(signal)
      .catch((error: unknown) => console.error('cleaning up failed:', error))
      .finally(() => ended(signal));
  };
  for (const name of STOPPING) process.on(name, first);
}
