import { execFileSync } from 'node:child_process';

/** Why the suite cannot run on this machine; undefined when it can. */
function whatIsMissing(): string | undefined {
  if (!answers('docker', 'version')) return 'no Docker engine answers (tools/setup-docker.sh starts one)';
  if (!answers('docker', 'compose', 'version')) return 'docker has no compose plugin (tools/setup-docker.sh)';
  if (process.getuid?.() !== 0) return 'the sockets and files in volumes are looked at as root';
  return undefined;
}

/**
 * `describe` where a Docker engine answers. Where none does it skips with the reason; in CI, which installs one, that is a
 * failure.
 */
export function withEngine<T extends { skip: unknown }>(runner: T): T {
  const missing = whatIsMissing();
  if (missing === undefined) return runner;
  if (process.env['CI']) throw new Error(missing);
  const skip = runner.skip as (name: string, ...rest: unknown[]) => unknown;
  return ((name: string, ...rest: unknown[]) =>
    skip(`${name} [skipped: ${missing}]`, ...rest)) as unknown as T;
}

function answers(...[command = '', ...args]: string[]): boolean {
  try {
    execFileSync(command, args, { stdio: 'ignore', timeout: 20_000 });
    return true;
  } catch {
    return false;
  }
}
