import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

type Collect = (options: { readonly type: 'minor' | 'major' }) => void;

let collect: Collect | undefined;

/** Collects garbage now: of the young generation in a millisecond, or all of it in some tens of them. */
export function collectGarbage(type: 'minor' | 'major'): void {
  collect ??= v8Collect();
  collect({ type });
}

/** The only way to V8's own function in a process that was not started with the flag. */
function v8Collect(): Collect {
  setFlagsFromString('--expose-gc');
  const gc: unknown = runInNewContext('globalThis.gc');
  setFlagsFromString('--no-expose-gc');
  return typeof gc === 'function' ? (gc as Collect) : () => undefined;
}
