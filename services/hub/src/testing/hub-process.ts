import { chownSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { ChildProcess, silentLogger, type ChildExit } from '@sendense/runtime';
import { eventually } from '@sendense/runtime/testing';
import { testSettings } from './test-hub.js';

const MAIN = new URL('../main.js', import.meta.url).pathname;

export interface HubProcessOptions {
  readonly folder: string;
  readonly settings?: Record<string, string>;
  /** Runs as this user; needs root. */
  readonly uid?: number;
}

/** A program that starts beside many others takes its time. */
const START_MS = 90_000;

/** The other user may read everything, because the checkout may be where only its owner can look; it may write nothing. */
const AS_USER = [
  'setpriv',
  '--clear-groups',
  '--inh-caps=+dac_read_search',
  '--ambient-caps=+dac_read_search',
];

/** `sendense-hub` as a process of its own, as systemd would start it. */
export class HubProcess implements AsyncDisposable {
  readonly lines: string[] = [];

  private constructor(private readonly options: HubProcessOptions) {}

  #child: ChildProcess | undefined;

  static async spawn(args: readonly string[], options: HubProcessOptions): Promise<HubProcess> {
    const process_ = new HubProcess(options);
    const { folder, settings, uid } = options;
    for (const name of ['data', 'run']) {
      const path = join(folder, name);
      mkdirSync(path, { recursive: true, mode: 0o700 });
      if (uid !== undefined) chownSync(path, uid, uid);
    }
    const command = [process.execPath, '--disable-warning=ExperimentalWarning', MAIN, ...args];
    const asUser = uid === undefined ? [] : [...AS_USER, `--reuid=${uid}`, `--regid=${uid}`];
    const [file = '', ...rest] = [...asUser, ...command];
    process_.#child = await ChildProcess.spawn(file, rest, {
      name: 'sendense-hub',
      owner: `test-${process.pid}`,
      log: silentLogger,
      extendEnv: false,
      env: {
        PATH: process.env['PATH'] ?? '',
        HOME: '/nonexistent',
        ...testSettings(folder, { SENDENSE_LOG_LEVEL: 'info', ...settings }),
      },
      filterLine: (line) => {
        process_.lines.push(line);
        return line;
      },
    });
    return process_;
  }

  get pid(): number {
    return this.child.pid;
  }

  get exited(): Promise<ChildExit> {
    return this.child.exited;
  }

  /** Everything that it wrote, both streams. */
  get text(): string {
    return this.lines.join('\n');
  }

  /** Where its API listens, once it does. */
  async url(): Promise<string> {
    const line = await eventually(
      'the hub runs',
      () => {
        if (!this.child.running) throw new Error(`it ended: ${this.text}`);
        return this.lines.find((candidate) => candidate.includes('"the hub runs"'));
      },
      START_MS,
    );
    const { api } = JSON.parse(line) as { api: { host: string; port: number } };
    return `http://${api.host}:${api.port}`;
  }

  kill(signal: NodeJS.Signals): void {
    process.kill(this.pid, signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.child.terminate();
  }

  private get child(): ChildProcess {
    if (!this.#child) throw new Error('not started');
    return this.#child;
  }
}

/** Runs one command to its end. */
export async function runHub(
  args: readonly string[],
  options: HubProcessOptions,
): Promise<{ readonly exitCode: number | undefined; readonly text: string; readonly lines: string[] }> {
  const process_ = await HubProcess.spawn(args, options);
  const { exitCode } = await process_.exited;
  return { exitCode, text: process_.text, lines: process_.lines };
}
