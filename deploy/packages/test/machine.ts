import { readFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { ChildProcess, silentLogger as log } from '@sendense/runtime';
import { eventually } from '@sendense/runtime/testing';

/** Long enough for systemd to stop every service of the machine, each within its own limit. */
const POWER_OFF_MS = 120_000;
const BOOT_MS = 60_000;

const ENVIRONMENT = [
  'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  'HOME=/root',
  'LANG=C.UTF-8',
  'DEBIAN_FRONTEND=noninteractive',
];

export interface MachineOptions {
  /** A Debian that was never started; it is copied. */
  readonly image: string;
  /** Where the machine's disk goes. Removed at the end. */
  readonly directory: string;
  /** Folders of this host that it sees, read-only: path inside → path here. */
  readonly folders: Readonly<Record<string, string>>;
}

/**
 * A Debian with systemd as its first process (systemd-nspawn), on a network of its own that leads nowhere. It can be
 * switched off and on; commands run in it as root.
 */
export class Machine implements AsyncDisposable {
  #running: { readonly process: ChildProcess; readonly init: number } | undefined;

  private constructor(private readonly options: MachineOptions) {}

  static async start(options: MachineOptions): Promise<Machine> {
    await execa('cp', ['-a', '--reflink=auto', options.image, options.directory]);
    const machine = new Machine(options);
    try {
      await machine.powerOn();
      return machine;
    } catch (error) {
      await machine[Symbol.asyncDispose]();
      throw error;
    }
  }

  async powerOn(): Promise<void> {
    const { directory, folders } = this.options;
    const process = await ChildProcess.spawn(
      'systemd-nspawn',
      [
        ...['--quiet', '--register=no', '--keep-unit', '--private-network', '--link-journal=no'],
        ...['--console=pipe', '--machine=appliance', `--directory=${directory}`],
        ...Object.entries(folders).map(([inside, here]) => `--bind-ro=${here}:${inside}`),
        '--boot',
      ],
      {
        name: 'systemd-nspawn',
        owner: `packages-test-${directory}`,
        log,
        // Also where the host itself still has the hierarchy of cgroup v1: Debian 13 does not start with that.
        env: { SYSTEMD_NSPAWN_UNIFIED_HIERARCHY: '1' },
        terminateTimeoutMs: POWER_OFF_MS,
      },
    );
    await eventually(
      'systemd to be up',
      async () => {
        // Its first child makes the namespaces; the one after that is the machine's systemd.
        const init = onlyChild(process.pid);
        if (init === undefined) return false;
        this.#running = { process, init };
        const { stdout } = await this.try('systemctl', 'is-system-running');
        return stdout === 'running' || stdout === 'degraded';
      },
      BOOT_MS,
    );
  }

  /** In order, as systemctl poweroff does it. */
  async powerOff(): Promise<void> {
    const running = this.#running;
    this.#running = undefined;
    await running?.process.terminate();
  }

  /** @returns what it wrote to stdout @throws when it fails */
  async run(command: string, ...args: string[]): Promise<string> {
    const { stdout } = await execa('nsenter', this.#enter(command, args));
    return stdout;
  }

  /** @returns what it wrote to stdout @throws when it fails */
  async runWith(input: string, command: string, ...args: string[]): Promise<string> {
    const { stdout } = await execa('nsenter', this.#enter(command, args), { input });
    return stdout;
  }

  async try(command: string, ...args: string[]): Promise<{ stdout: string; exitCode: number | undefined }> {
    const { stdout, exitCode } = await execa('nsenter', this.#enter(command, args), { reject: false });
    return { stdout, exitCode };
  }

  async write(path: string, content: string): Promise<void> {
    const script = 'mkdir -p "$(dirname "$1")" && cat >"$1"';
    await this.runWith(content, 'sh', '-c', script, 'sh', path);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.powerOff();
    await rm(this.options.directory, { recursive: true, force: true });
  }

  #enter(command: string, args: readonly string[]): string[] {
    if (!this.#running) throw new Error('the machine is switched off');
    return ['-t', String(this.#running.init), '-a', 'env', '-i', ...ENVIRONMENT, command, ...args];
  }
}

function onlyChild(pid: number): number | undefined {
  const children = readFileSync(join('/proc', String(pid), 'task', String(pid), 'children'), 'utf8');
  return Number(children.trim().split(' ')[0]) || undefined;
}
