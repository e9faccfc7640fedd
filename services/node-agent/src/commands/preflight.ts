import { printable } from '@sendense/core';
import { preflight } from '../preflight/preflight.js';
import type { NodeCheck } from '../preflight/node-checks.js';

/** Prints what was checked; the exit code is 1 when something is not ok. */
export async function preflightByCommand(options: { json?: boolean }, env: NodeJS.ProcessEnv): Promise<void> {
  const checks = await preflight(env);
  const ok = checks.every((check) => check.ok);
  process.stdout.write(
    options.json ? `${JSON.stringify({ ok, checks }, undefined, 2)}\n` : checkTable(checks),
  );
  if (!ok) process.exitCode = 1;
}

export function checkTable(checks: readonly NodeCheck[]): string {
  const width = Math.max(...checks.map(({ name }) => name.length));
  const rows = checks.map(({ name, ok, detail }) => {
    const [first = '', ...more] = detail.split('\n').map(printable);
    const indent = ' '.repeat(width + 7);
    return [
      `${name.padEnd(width)}  ${ok ? 'ok  ' : 'FAIL'} ${first}`,
      ...more.map((line) => indent + line),
    ].join('\n');
  });
  const failed = checks.filter(({ ok }) => !ok).length;
  const summary = failed === 0 ? 'everything is ready' : `${failed} of ${checks.length} checks failed`;
  return `${[...rows, '', summary].join('\n')}\n`;
}
