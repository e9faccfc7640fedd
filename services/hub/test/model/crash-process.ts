import childProcess from 'node:child_process';
import promises from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import type { HubPlace, ModelHub } from './model-hub.js';

/** What the process is told at its start, as JSON in its first argument. */
export interface CrashSpec {
  readonly place: HubPlace;
  readonly work:
    | { readonly kind: 'backup'; readonly contextId: string; readonly type: 'full' | 'incremental' }
    | { readonly kind: 'remove'; readonly pointId: string };
  /** How many steps it may do: a change of the file system, a process, a call of the catalogue. */
  readonly steps: number;
}

let stepsLeft = Infinity;

/** Before each step; the one that is too many does not happen, and nothing after it. */
function step(): void {
  if (stepsLeft-- <= 0) process.kill(process.pid, 'SIGKILL');
}

/** Steps are counted from under the product: it knows nothing of them. */
function countSteps<T extends object>(owner: T, names: readonly (keyof T & string)[]): void {
  for (const name of names) {
    const original = owner[name] as (...args: unknown[]) => unknown;
    Object.defineProperty(owner, name, {
      configurable: true,
      writable: true,
      value(this: unknown, ...args: unknown[]) {
        step();
        return original.apply(this, args);
      },
    });
  }
}

function methodsOf<T extends object>(store: T): (keyof T & string)[] {
  const names = Object.getOwnPropertyNames(Object.getPrototypeOf(store)) as (keyof T & string)[];
  return names.filter((name) => name !== 'constructor' && typeof store[name] === 'function');
}

async function main(): Promise<void> {
  const { place, work, steps } = JSON.parse(process.argv[2] ?? '') as CrashSpec;
  countSteps(promises, ['rename', 'rm', 'rmdir', 'unlink', 'mkdir', 'open', 'writeFile', 'chmod']);
  countSteps(childProcess, ['spawn']);
  syncBuiltinESMExports();
  // Only what is loaded now gets the functions that count.
  const { ModelHub } = await import('./model-hub.js');
  const { eventually } = await import('@sendense/runtime/testing');
  const hub: ModelHub = await ModelHub.start(place);
  const { catalog, runs } = hub.spine;
  const stateOf = catalog.tasks.get.bind(catalog.tasks);
  for (const store of [catalog.backups, catalog.restorePoints, catalog.tasks, catalog.chainLocks])
    countSteps<object>(store, methodsOf<object>(store));
  if (work.kind === 'backup') {
    const request = await hub.spine.request(work.contextId, { type: work.type });
    stepsLeft = steps;
    await runs.start(request);
    await eventually('it has ended', () => runs.running().length === 0);
  } else {
    const { removalRequest } = await import('../../src/chains/remove-task.js');
    const point = await catalog.restorePoints.get(work.pointId);
    stepsLeft = steps;
    const { id } = await hub.tasks.start(removalRequest(point, 'model'));
    await eventually('it has ended', async () => 'endedAt' in (await stateOf(id)));
  }
  // It came to its end before its steps did: the crash comes just after it.
  process.kill(process.pid, 'SIGKILL');
}

await main();
