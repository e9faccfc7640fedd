import type { ChildProcess as NodeChildProcess } from 'node:child_process';
import { access, constants, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { SendenseError, type ErrorCode } from '@sendense/core';
import type { Logger } from './log.js';
import { delay } from './ownership.js';
import { OWNER_VARIABLE, processesOwnedBy } from './process-identity.js';

export interface ChildProcessOptions {
  /** For logs and errors: `qemu-nbd of disk 2000`. */
  readonly name: string;
  /** Put into the environment so that orphans can be found after a crash: see {@link killOrphans}. */
  readonly owner: string;
  readonly log: Logger;
  readonly env?: Readonly<Record<string, string>>;
  /** Pass on this process's environment. @default true */
  readonly extendEnv?: boolean;
  readonly cwd?: string;
  /** Sends SIGTERM when this process dies, however it dies (setpriv(1), PR_SET_PDEATHSIG). @default true */
  readonly dieWithParent?: boolean;
  /** Also opens an IPC channel for `process.send`, for our own entry points. @default false */
  readonly ipc?: boolean;
  /** Turns one line of stderr into what may be logged and shown; undefined drops it. */
  readonly filterLine?: (line: string) => string | undefined;
  /** How long it may take to end after SIGTERM before it is killed. @default 5000 */
  readonly terminateTimeoutMs?: number;
  /** The error code when the binary does not exist. @default 'process_failed' */
  readonly missingCode?: ErrorCode;
  /** What to install, for the error when the binary does not exist. */
  readonly missingHint?: string;
}

export interface ChildExit {
  readonly exitCode: number | undefined;
  readonly signal: string | undefined;
  /** `exit code 1`, `signal SIGKILL` */
  readonly description: string;
}

/** What this module uses of an execa subprocess, whatever its options. */
interface Subprocess extends Promise<unknown> {
  readonly pid?: number;
  readonly stdout: NodeJS.ReadableStream | null;
  readonly stderr: NodeJS.ReadableStream | null;
  readonly nodeChildProcess: NodeChildProcess;
  kill(signal: NodeJS.Signals): boolean;
}

const STDERR_TAIL_LINES = 20;

/**
 * A child process with one owner. It is asked to end (SIGTERM), given a few seconds, killed, and always awaited.
 * Its stderr is kept as a short tail for errors. Secrets never go into `args`: argv is public.
 */
export class ChildProcess implements AsyncDisposable {
  readonly #subprocess: Subprocess;
  readonly #tail: string[] = [];
  readonly #timeoutMs: number;
  #exit: ChildExit | undefined;
  #terminating = false;

  readonly pid: number;
  /** Settles when the process has ended; never rejects. */
  readonly exited: Promise<ChildExit>;

  private constructor(
    subprocess: Subprocess,
    pid: number,
    readonly name: string,
    private readonly options: ChildProcessOptions,
  ) {
    this.#subprocess = subprocess;
    this.pid = pid;
    this.#timeoutMs = options.terminateTimeoutMs ?? 5000;
    const stderrRead = this.#readLines(subprocess.stderr, 'stderr');
    const stdoutRead = this.#readLines(subprocess.stdout, 'stdout');
    this.exited = (async () => {
      const result: unknown = await subprocess.catch((error: unknown) => error);
      await Promise.all([stderrRead, stdoutRead]);
      const ended = result as { exitCode?: number; signal?: string };
      const exit: ChildExit = {
        exitCode: ended.exitCode,
        signal: ended.signal,
        description: ended.signal ? `signal ${ended.signal}` : `exit code ${ended.exitCode ?? 'unknown'}`,
      };
      this.#exit = exit;
      this.options.log.debug({ process: name, pid, ...exit, asked: this.#terminating }, 'process ended');
      return exit;
    })();
  }

  /** @throws the options' `missingCode` when there is no such binary or it cannot be executed */
  static async spawn(
    command: string,
    args: readonly string[],
    options: ChildProcessOptions,
  ): Promise<ChildProcess> {
    const wrapped = options.dieWithParent ?? true;
    if (wrapped) await requireExecutable(command, options);
    const [file, argv] = wrapped
      ? ['setpriv', ['--pdeathsig', 'TERM', '--', command, ...args]]
      : [command, [...args]];
    const subprocess = execa(file, argv, {
      stdin: 'ignore',
      stdout: 'pipe',
      stderr: 'pipe',
      buffer: false,
      reject: false,
      cleanup: false,
      // execa would kill it 5 s after any SIGTERM; terminate() below decides when.
      forceKillAfterDelay: false,
      // A token for the API that the caller's shell had set is nobody else's business.
      env: { ...options.env, SENDENSE_TOKEN: undefined, [OWNER_VARIABLE]: options.owner },
      extendEnv: options.extendEnv ?? true,
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      ...(options.ipc ? { ipc: true, serialization: 'advanced' as const } : {}),
    }) as unknown as Subprocess;
    if (subprocess.pid === undefined) {
      throw missing(command, options, await subprocess);
    }
    options.log.debug({ process: options.name, pid: subprocess.pid, command, args: argv }, 'process started');
    return new ChildProcess(subprocess, subprocess.pid, options.name, options);
  }

  get running(): boolean {
    return this.#exit === undefined;
  }

  /** Whether somebody here asked it to end: an exit that nobody asked for is a failure. */
  get terminating(): boolean {
    return this.#terminating;
  }

  /** Node's own object, for `send` and `message` when the `ipc` option is set. */
  get ipc(): NodeChildProcess {
    return this.#subprocess.nodeChildProcess;
  }

  /** The last lines of stderr (filtered), joined by `; `. */
  stderrTail(): string {
    return this.#tail.join('; ');
  }

  /** An error that says how the process ended and what it last said. */
  failure(code: ErrorCode, what: string, context: Record<string, string | number> = {}): SendenseError {
    const ended = this.#exit ? ` (${this.#exit.description})` : '';
    const said = this.#tail.length > 0 ? `: ${this.stderrTail()}` : ', and said nothing on stderr';
    return new SendenseError(code, `${what}${ended}${said}`, {
      context: { process: this.name, pid: this.pid, ...context },
    });
  }

  /**
   * SIGTERM, then SIGKILL after the time limit; returns once the process is gone.
   * @param timeoutMs instead of the options' limit: for a process that still has data to write
   */
  async terminate(timeoutMs = this.#timeoutMs): Promise<ChildExit> {
    this.#terminating = true;
    if (this.#exit) return this.#exit;
    this.#subprocess.kill('SIGTERM');
    const stop = new AbortController();
    try {
      const late = delay(timeoutMs, stop.signal).then(
        () => this.#subprocess.kill('SIGKILL'),
        () => false,
      );
      const exit = await this.exited;
      stop.abort();
      await late;
      return exit;
    } finally {
      stop.abort();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.terminate();
  }

  async #readLines(stream: NodeJS.ReadableStream | null, from: 'stdout' | 'stderr'): Promise<void> {
    if (!stream) return;
    let pending = '';
    const take = (line: string) => {
      const shown = this.options.filterLine ? this.options.filterLine(line) : line;
      if (shown === undefined || shown.trim() === '') return;
      this.options.log.debug({ process: this.name, pid: this.pid, from, line: shown }, 'process said');
      if (from === 'stdout') return;
      this.#tail.push(shown.trim().slice(0, 500));
      if (this.#tail.length > STDERR_TAIL_LINES) this.#tail.shift();
    };
    try {
      for await (const chunk of stream) {
        // A tool that shows its progress ends its lines with carriage returns.
        const lines = (pending + String(chunk)).split(/[\r\n]/);
        pending = (lines.pop() ?? '').slice(0, 64 * 1024);
        lines.forEach(take);
      }
    } catch {
      // The pipe broke: the process is gone, and `exited` says how.
    }
    if (pending !== '') take(pending);
  }
}

async function requireExecutable(command: string, options: ChildProcessOptions): Promise<void> {
  if ((await findExecutable(command)) === undefined) throw missing(command, options);
}

/** The path of a command, looked up in PATH when it holds no slash. */
export async function findExecutable(command: string): Promise<string | undefined> {
  const candidates = command.includes('/')
    ? [command]
    : (process.env['PATH'] ?? '/usr/bin:/bin').split(':').map((folder) => join(folder || '.', command));
  for (const candidate of candidates) {
    try {
      await access(candidate, constants.X_OK);
      if ((await stat(candidate)).isFile()) return candidate;
    } catch {
      // Not this one.
    }
  }
  return undefined;
}

function missing(command: string, options: ChildProcessOptions, cause?: unknown): SendenseError {
  const hint = options.missingHint ?? 'install it, or correct its path';
  return new SendenseError(
    options.missingCode ?? 'process_failed',
    `${command} cannot be started (${options.name}): ${hint}`,
    {
      context: { command },
      cause,
    },
  );
}

/** Ends the processes that carry this owner and belong to nobody any more: what a killed process left behind. */
export async function killOrphans(owner: string, log: Logger): Promise<{ pid: number; command: string }[]> {
  const found = processesOwnedBy(owner);
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    for (const { pid, command } of processesOwnedBy(owner)) {
      log.warn({ pid, command, signal }, 'ending a process that an earlier run left behind');
      try {
        process.kill(pid, signal);
      } catch {
        // Gone already.
      }
    }
    for (let tries = 0; tries < 50 && processesOwnedBy(owner).length > 0; tries++) await delay(100);
  }
  return found;
}
