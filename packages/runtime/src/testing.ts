// Test support. Not for production code: the layer check refuses it there.
import { accessSync, constants, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { delay } from './ownership.js';

function onPath(tool: string): boolean {
  if (tool.includes('/')) return existsSync(tool);
  return (process.env['PATH'] ?? '').split(':').some((folder) => {
    try {
      accessSync(join(folder, tool), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/**
 * For `const describeWith = requires(describe, 'qemu-nbd')`: the given function when the tools are there. When one is
 * missing it skips with the reason in the title; in CI it throws, so that a missing tool cannot pass unseen.
 */
export function requires<T extends { skip: unknown }>(runner: T, ...tools: string[]): T {
  const missing = tools.filter((tool) => !onPath(tool));
  if (missing.length === 0) return runner;
  return skipping(
    runner,
    `missing on this machine: ${missing.join(', ')}`,
    ': ./dev setup installs what the tests need',
  );
}

/** The same for what is no tool. @param lacking what this machine cannot do; undefined when it can */
export function requiresAbility<T extends { skip: unknown }>(runner: T, lacking: string | undefined): T {
  return lacking === undefined ? runner : skipping(runner, lacking);
}

/** The same for what only root can do. @param what it is for: `to become another user` */
export function requiresRoot<T extends { skip: unknown }>(runner: T, what: string): T {
  return requiresAbility(runner, process.geteuid?.() === 0 ? undefined : `it takes root ${what}`);
}

function skipping<T extends { skip: unknown }>(runner: T, reason: string, fix = ''): T {
  if (process.env['CI']) throw new Error(`in CI no test is skipped: ${reason}${fix}`);
  const skip = runner.skip as (name: string, ...rest: unknown[]) => unknown;
  const titled = (name: string, ...rest: unknown[]) => skip(`${name} [skipped: ${reason}]`, ...rest);
  return Object.assign(titled, { skip }) as unknown as T;
}

/** A folder of its own for a test, removed at the end: `using folder = temporaryDirectory()`. */
export function temporaryDirectory(name = 'sendense-test'): Disposable & { readonly path: string } {
  const path = mkdtempSync(join(tmpdir(), `${name}-`));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}

const SHORTEST_PAUSE_MS = 10;
const LONGEST_PAUSE_MS = 100;

/** Waits for a condition, never for a time: throws with `what` when it does not come true. */
export async function eventually<T>(
  what: string,
  condition: () => T | Promise<T>,
  timeoutMs = 30_000,
): Promise<NonNullable<T>> {
  const begin = Date.now();
  const end = begin + timeoutMs;
  let last: unknown;
  for (;;) {
    try {
      const value = await condition();
      if (value) return value;
      last = value;
    } catch (error) {
      last = error;
    }
    if (Date.now() > end)
      throw new Error(`did not happen within ${timeoutMs / 1000} s: ${what} (last: ${String(last)})`);
    // What takes long is asked for less often: the asking itself keeps a core from what is waited for.
    await delay(Math.min(Math.max((Date.now() - begin) / 10, SHORTEST_PAUSE_MS), LONGEST_PAUSE_MS));
  }
}
