import { execa } from 'execa';
import { SendenseError, type ErrorCode } from '@sendense/core';

/** Runs a command to its end and returns its stdout. @throws `code` with its stderr when it fails */
export async function runCommand(
  command: string,
  args: readonly string[],
  options: {
    readonly code: ErrorCode;
    readonly what: string;
    readonly missingCode?: ErrorCode;
    readonly missingHint?: string;
    readonly signal?: AbortSignal;
    readonly timeoutMs?: number;
    readonly cwd?: string;
    readonly env?: Readonly<Record<string, string>>;
    /** Exit codes that are an answer, not a failure. @default [0] */
    readonly accept?: readonly number[];
  },
): Promise<{ stdout: string; stderr: string; exitCode: number }> {
  const result = await execa(command, [...args], {
    reject: false,
    stdin: 'ignore',
    maxBuffer: 256 << 20,
    ...(options.signal ? { cancelSignal: options.signal } : {}),
    ...(options.timeoutMs === undefined ? {} : { timeout: options.timeoutMs }),
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    ...(options.env === undefined ? {} : { env: options.env }),
  });
  if (result.isCanceled) throw new SendenseError('cancelled', `${options.what}: cancelled`);
  if (result.timedOut)
    throw new SendenseError(
      'timeout',
      `${options.what}: ${command} took longer than ${options.timeoutMs} ms`,
    );
  if (result.code === 'ENOENT' || result.code === 'EACCES') {
    const hint = options.missingHint ?? 'install it, or correct its path';
    throw new SendenseError(
      options.missingCode ?? options.code,
      `${command} cannot be started (${options.what}): ${hint}`,
      {
        context: { command },
      },
    );
  }
  if (result.exitCode === undefined || !(options.accept ?? [0]).includes(result.exitCode)) {
    const said = result.stderr.trim().slice(-2000) || result.shortMessage;
    throw new SendenseError(options.code, `${options.what}: ${said}`, { context: { command } });
  }
  return { stdout: result.stdout, stderr: result.stderr, exitCode: result.exitCode };
}
