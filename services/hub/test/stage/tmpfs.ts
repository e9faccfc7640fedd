import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';

/** A file system of its own that is soon full; what is mounted over is there again afterwards. */
export function mountTmpfs(path: string, size: string): AsyncDisposable & { readonly path: string } {
  mkdirSync(path, { recursive: true });
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', path], { stdio: 'pipe' });
  return {
    path,
    async [Symbol.asyncDispose]() {
      execFileSync('umount', ['--lazy', path]);
    },
  };
}

/** Why there is none: a container may not mount, not even as root. For `requiresAbility`. */
export function whyNoMount(): string | undefined {
  const path = `/tmp/sendense-mount-${process.pid}`;
  try {
    void mountTmpfs(path, '1m')[Symbol.asyncDispose]();
    return undefined;
  } catch (error) {
    const said = String((error as { stderr?: Buffer }).stderr ?? error).trim();
    return `no file system can be mounted here, which takes root (${said})`;
  } finally {
    rmSync(path, { recursive: true, force: true });
  }
}
