import { setTimeout as delay } from 'node:timers/promises';
import { SendenseError, toSendenseError } from '@sendense/core';
import type { Logger } from '@sendense/runtime';
import type { UsableRepository } from './dependencies.js';

const MIB = 2 ** 20;

/** A backup does not begin with less than this: even an empty one needs images, hashes and a manifest. */
export const MIN_FREE_BYTES = 64 * MIB;
/** A running one ends here, before writes fail at random, in every backup of this file system at once. */
const STOP_FREE_BYTES = 16 * MIB;
/** The repository is gone when so many looks in a row do not find it: fewer may be a network file system that stutters. */
const MISSING_LOOKS = 3;

/** @throws `repository_full` */
export async function requireSpace(repository: UsableRepository): Promise<void> {
  const free = await repository.availableBytes();
  if (free < MIN_FREE_BYTES) throw full(repository, free, 'a backup needs at least 64 MiB to begin');
}

/** The error of a repository that is full now; undefined when it is not. */
export async function fullNow(
  repository: UsableRepository,
  cause: SendenseError,
): Promise<SendenseError | undefined> {
  try {
    const free = await repository.availableBytes();
    return free < STOP_FREE_BYTES ? full(repository, free, 'the backup ran out of space', cause) : undefined;
  } catch (error) {
    return toSendenseError(error);
  }
}

/**
 * Looks now and then whether the repository is still there and has space, until it is disposed. `onProblem` is called once
 * at most. One that was unmounted is noticed by nothing else while disks are copied: open images can still be written.
 */
export function watchSpace(
  repository: UsableRepository,
  o: { readonly everyMs: number; readonly log: Logger; readonly onProblem: (error: SendenseError) => void },
): AsyncDisposable {
  const stop = new AbortController();
  const watching = (async () => {
    for (let missing = 0; ;) {
      try {
        await delay(o.everyMs, undefined, { signal: stop.signal });
      } catch {
        return;
      }
      try {
        const free = await repository.availableBytes();
        missing = 0;
        if (free >= STOP_FREE_BYTES) continue;
        o.onProblem(full(repository, free, 'the backup was stopped before its writes would fail'));
        return;
      } catch (error) {
        const problem = toSendenseError(error);
        missing = problem.code === 'repository_missing' ? missing + 1 : 0;
        if (missing === MISSING_LOOKS) {
          o.onProblem(problem);
          return;
        }
        // Until then the open files may still work: their owner will say.
        o.log.warn({ error: problem.message }, 'cannot look at the free space of the repository');
      }
    }
  })();
  return {
    async [Symbol.asyncDispose]() {
      stop.abort();
      await watching;
    },
  };
}

function full(
  repository: UsableRepository,
  free: number,
  what: string,
  cause?: SendenseError,
): SendenseError {
  return new SendenseError(
    'repository_full',
    `repository ${repository.id} (${repository.path}) has ${Math.floor(free / MIB)} MiB left: ${what}. Free space there, enlarge its file system, or use another repository`,
    {
      context: { repository_id: repository.id, path: repository.path, available_bytes: free },
      ...(cause ? { cause } : {}),
    },
  );
}
