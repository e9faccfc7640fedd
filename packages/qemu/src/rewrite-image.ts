import { SendenseError, throwIfAborted } from '@sendense/core';
import { ChildProcess, type Logger } from '@sendense/runtime';

/** Of a `qemu-img` that changes images for minutes or hours. */
export interface RewriteOptions {
  /** Ends the process; this returns when it is gone. */
  readonly signal?: AbortSignal | undefined;
  /** From 0 to 100, now and then. Must be quick and not throw. */
  readonly onProgress?: ((percent: number) => void) | undefined;
}

export interface RewriteTool {
  readonly command: string;
  readonly owner: string;
  readonly log: Logger;
}

/** What `-p` prints, between carriage returns. */
const PROGRESS = /^\s*\((\d+(?:\.\d+)?)\/100%\)\s*$/;

/**
 * Runs a `qemu-img` command to its end. Its process dies with this one: nobody may go on changing a chain that a new hub
 * has begun to look after.
 * @throws `out_of_space`, `qemu_img_failed` with its stderr, the signal's reason
 */
export async function rewriteImage(
  { command, owner, log }: RewriteTool,
  args: readonly string[],
  what: string,
  path: string,
  { signal, onProgress }: RewriteOptions,
): Promise<void> {
  throwIfAborted(signal);
  await using child = await ChildProcess.spawn(command, args, {
    name: `qemu-img ${what}`,
    owner,
    log,
    filterLine: (line) => {
      const percent = PROGRESS.exec(line)?.[1];
      if (percent === undefined) return line;
      onProgress?.(Number(percent));
      return undefined;
    },
    missingCode: 'qemu_img_failed',
    missingHint: 'install the package qemu-utils, or set SENDENSE_QEMU_IMG to its path',
  });
  const stop = () => void child.terminate();
  signal?.addEventListener('abort', stop, { once: true });
  try {
    // It may have been aborted while the process came up.
    if (signal?.aborted) stop();
    const { exitCode } = await child.exited;
    // Done is done, whoever asked for the end meanwhile.
    if (exitCode === 0) return;
    throwIfAborted(signal);
    throw failure(child, what, path);
  } finally {
    signal?.removeEventListener('abort', stop);
  }
}

function failure(child: ChildProcess, what: string, path: string): SendenseError {
  const error = child.failure('qemu_img_failed', `${what} failed`, { path });
  if (!/No space left|quota exceeded/i.test(child.stderrTail())) return error;
  return new SendenseError('out_of_space', `${what}: no space is left there (${child.stderrTail()})`, {
    cause: error,
    context: { path },
  });
}
