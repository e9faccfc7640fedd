import { spawn } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join, resolve } from 'node:path';
import { execa } from 'execa';
import { SendenseError } from '@sendense/core';
import { delay, identifyProcess, isSameProcessAlive, type ProcessIdentity } from '@sendense/runtime';

const ROOT = resolve(import.meta.dirname, '../../../..');

interface Running extends ProcessIdentity {
  readonly name: string;
}

/** Where a demonstration finds its files, and how it runs our programs to their end. */
export interface Programs {
  /** Parts: `lab`, `repository`, `work` and what is below them. */
  path(...parts: string[]): string;
  /** @returns its stdout @throws `process_failed` */
  run(
    program: string,
    args: readonly string[],
    env?: Record<string, string>,
    input?: string,
  ): Promise<string>;
  /** On this terminal. @returns its exit code */
  show(program: string, args: readonly string[], env: Record<string, string>): Promise<number>;
}

/** The demo's own directory and the programs that run in it. */
export class Stage implements Programs {
  readonly #running: Running[] = [];

  private constructor(readonly directory: string) {}

  /** An empty directory; what an earlier demo left running in it is stopped first. */
  static async prepare(directory: string): Promise<Stage> {
    await Stage.stop(directory);
    rmSync(directory, { recursive: true, force: true });
    for (const part of ['log', 'run', 'hub', 'node', 'lab', 'repository', 'work', 'home']) {
      mkdirSync(join(directory, part), { recursive: true, mode: 0o755 });
    }
    return new Stage(directory);
  }

  /** Ends the programs of the demo in a directory. @returns their names */
  static async stop(directory: string): Promise<string[]> {
    const path = join(directory, 'running.json');
    if (!existsSync(path)) return [];
    const running = (JSON.parse(readFileSync(path, 'utf8')) as Running[]).toReversed();
    const stopped: string[] = [];
    for (const program of running) {
      if (!isSameProcessAlive(program)) continue;
      stopped.push(program.name);
      process.kill(program.pid, 'SIGTERM');
      for (let tries = 0; isSameProcessAlive(program) && tries < 200; tries++) await delay(100);
      if (isSameProcessAlive(program)) process.kill(program.pid, 'SIGKILL');
    }
    // Somebody else may be stopping them, too.
    rmSync(path, { force: true });
    return stopped;
  }

  path(...parts: string[]): string {
    return join(this.directory, ...parts);
  }

  /** Starts a program that stays; its output goes to `log/<name>.log`. */
  start(program: string, args: readonly string[], env: Record<string, string>): void {
    const log = openSync(this.path('log', `${program}.log`), 'a');
    const child = spawn(join(ROOT, 'bin', program), args, {
      detached: true,
      stdio: ['ignore', log, log],
      env: programEnvironment(env),
    });
    closeSync(log);
    child.unref();
    const identity = child.pid === undefined ? undefined : identifyProcess(child.pid);
    if (!identity)
      throw new SendenseError('process_failed', `${program} did not start: see log/${program}.log`);
    this.#running.push({ name: program, ...identity });
    writeFileSync(this.path('running.json'), JSON.stringify(this.#running));
  }

  /** The one that was started last under this name. @throws `internal` when none runs */
  running(program: string): ProcessIdentity {
    const found = this.#running.findLast(({ name }) => name === program);
    if (found && isSameProcessAlive(found)) return found;
    throw new SendenseError('internal', `${program} does not run`);
  }

  /** Kills a program with SIGKILL, which may be started again. */
  async kill(program: string): Promise<void> {
    const found = this.running(program);
    this.#running.splice(
      this.#running.findLastIndex(({ pid }) => pid === found.pid),
      1,
    );
    process.kill(found.pid, 'SIGKILL');
    while (isSameProcessAlive(found)) await delay(10);
  }

  /** Runs one of our programs to its end and returns its stdout. */
  async run(
    program: string,
    args: readonly string[],
    env: Record<string, string> = {},
    input?: string,
  ): Promise<string> {
    const result = await execa(join(ROOT, 'bin', program), args, {
      env: programEnvironment(env),
      extendEnv: false,
      reject: false,
      ...(input === undefined ? { stdin: 'ignore' as const } : { input }),
    });
    if (result.exitCode === 0) return result.stdout;
    throw new SendenseError(
      'process_failed',
      `${program} ${args.slice(0, 2).join(' ')} failed: ${result.stderr || result.stdout}`,
    );
  }

  /** Runs one of our programs on this terminal. @returns its exit code */
  async show(program: string, args: readonly string[], env: Record<string, string>): Promise<number> {
    const options = {
      env: programEnvironment(env),
      extendEnv: false,
      reject: false,
      stdio: 'inherit' as const,
    };
    return (await execa(join(ROOT, 'bin', program), args, options)).exitCode ?? 1;
  }

  /** Waits until something holds; when a program ends meanwhile, its log is the reason. */
  async until<T>(what: string, condition: () => Promise<T | undefined>): Promise<T> {
    const end = Date.now() + 30_000;
    for (;;) {
      const value = await condition().catch(() => undefined);
      if (value !== undefined) return value;
      const dead = this.#running.find((program) => !isSameProcessAlive(program));
      if (dead || Date.now() > end) {
        const name = dead?.name ?? this.#running.at(-1)?.name ?? '';
        const log = readFileSync(this.path('log', `${name}.log`), 'utf8')
          .trim()
          .split('\n')
          .slice(-8)
          .join('\n');
        throw new SendenseError(
          'timeout',
          `${dead ? `${name} ended` : 'it took too long'} while waiting for ${what}:\n${log}`,
        );
      }
      await delay(100);
    }
  }
}

/** The caller's environment without its own SENDENSE_ settings: the demo sets every one that it means. */
function programEnvironment(own: Record<string, string>): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(
    ([name]) => !name.startsWith('SENDENSE_') || name === 'SENDENSE_TOOLS_DIR',
  );
  return { ...Object.fromEntries(kept), ...own };
}

/** A free TCP port on the loopback. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready));
  const address = server.address();
  await new Promise<unknown>((closed) => server.close(closed));
  if (typeof address !== 'object' || address === null) throw new SendenseError('internal', 'no free port');
  return address.port;
}

/** The NBD ports of the contract when nobody uses them, else as many others. */
export async function freePortRange(first: number, count: number): Promise<string> {
  for (let start = first; start + count < 30_000; start += count) {
    if (await allFree(start, count)) return `${start}-${start + count - 1}`;
  }
  throw new SendenseError('no_port_available', `no ${count} free ports in a row from ${first} on`);
}

async function allFree(first: number, count: number): Promise<boolean> {
  for (let port = first; port < first + count; port++) {
    const free = await new Promise<boolean>((settle) => {
      const server = createServer();
      server.once('error', () => settle(false));
      server.listen(port, '127.0.0.1', () => server.close(() => settle(true)));
    });
    if (!free) return false;
  }
  return true;
}
