import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { SendenseError } from '@sendense/core';
import { delay, OwnedStack, processesOwnedBy, silentLogger } from '@sendense/runtime';
import { startHub, type Stage } from '@sendense/stage';
import { startPrograms, startRelayedNode, type Programs, type RelayedNode } from '../programs.js';

const MIB = 1 << 20;
const NODE = 'node-1';
/** The first disk takes half a minute, if nothing comes in between. */
const RATE_LIMIT = 2 * MIB;
const POLL_MS = 20;
/** Until a backup is where it is to be struck, and until everything is as before. */
const PATIENCE_MS = 120_000;

/** How somebody learned what became of a request: at once, or from the backup's state. */
export interface Told {
  readonly outcome: 'accepted' | 'error' | 'completed' | 'cancelled';
  /** Of the error, or of the first warning. */
  readonly code: string;
  readonly message: string;
}

export interface BackupView {
  readonly backup_id: string;
  readonly state: string;
  readonly error: { readonly code: string; readonly message: string } | null;
  readonly warnings: readonly { readonly code: string; readonly message: string }[];
  readonly disk_results: readonly {
    readonly status: string;
    readonly qemu_nbd_pid: number | null;
    readonly qcow2_path: string;
  }[];
  readonly progress: { readonly bytes_done: number };
}

interface Answered<T> {
  readonly ok: boolean;
  readonly body: T;
}

interface SystemView {
  readonly ports: { readonly leased: readonly unknown[] };
  readonly processes: readonly unknown[];
  readonly running: readonly unknown[];
}

/** The scripts that stand before the programs, so that these can be missing or misbehave. */
type Tool = 'qemu-nbd' | 'qemu-img' | 'nbdkit';

/** Lab, hub and node with their default times, a VM of two disks, and all that can be broken about them. */
export class Ground implements AsyncDisposable {
  readonly vmName = 'struck';
  readonly smallVmName = 'small';
  #imageFolder: string | undefined;

  private constructor(
    readonly programs: Programs,
    readonly node: RelayedNode,
    /** Whether the repository is a file system of its own. */
    readonly mounted: boolean,
    private readonly owned: OwnedStack,
  ) {}

  static async open(directory: string, say: (text: string) => void): Promise<Ground> {
    await using owned = new OwnedStack(silentLogger, PATIENCE_MS);
    const tools = (stage: Stage) => ({
      SENDENSE_QEMU_NBD: makeTool(stage, 'qemu-nbd'),
      SENDENSE_QEMU_IMG: makeTool(stage, 'qemu-img'),
      SENDENSE_RATE_LIMIT: String(RATE_LIMIT),
    });
    const programs = owned.use('programs', await startPrograms(directory, say, tools));
    const { stage, lab, repositoryPath } = programs;
    symlinkSync(lab.vddkLibdir, stage.path('vddk'));
    const node = await startRelayedNode(programs, NODE, {
      SENDENSE_NBDKIT: makeTool(stage, 'nbdkit'),
      SENDENSE_VDDK_LIBDIR: stage.path('vddk'),
    });
    owned.use('relay', node.relay);
    const mounted = mountTmpfs(repositoryPath);
    if (mounted) {
      owned.defer('mount', () => void execFileSync('umount', ['--lazy', repositoryPath]));
      // The marker of the repository went under the mount.
      await programs.pair.cli('repository', 'remove', programs.repositoryId);
      const added = await programs.pair.cli<{ repository_id: string }>(
        ...['repository', 'add', 'mounted', '--path', repositoryPath],
      );
      Object.assign(programs, { repositoryId: added.repository_id });
    }
    const ground = new Ground(programs, node, mounted, owned.move());
    await ground.#addVm(ground.vmName, [64, 8]);
    await ground.#addVm(ground.smallVmName, [1]);
    return ground;
  }

  async #addVm(name: string, disksMib: readonly number[]): Promise<void> {
    const { lab, pair } = this.programs;
    const disks = disksMib.map((mib) => ({ sizeBytes: mib * MIB }));
    const vm = await lab.createVm({ name, disks });
    for (const { key, sizeBytes } of vm.disks)
      await lab.guestWrite(vm.moref, key, { offset: 0, random: `${name} ${key}`, length: sizeBytes });
    await pair.cli('vm', 'protect', name, '--vcenter', this.node.vcenterId);
  }

  /** POST when there is a body. */
  async request<T>(path: string, body?: object): Promise<Answered<T>> {
    const { url, token } = this.programs.pair;
    const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
    const sent = body ? { method: 'POST', headers, body: JSON.stringify(body) } : { headers };
    const response = await fetch(`${url}/api/v1/${path}`, sent);
    return { ok: response.ok, body: (await response.json()) as T };
  }

  /** Asks for something that is refused. */
  async refused(path: string, body: object): Promise<Told> {
    const { ok, body: problem } = await this.request<{ code: string; detail: string }>(path, body);
    if (ok) return { outcome: 'accepted', code: '', message: '' };
    return { outcome: 'error', code: problem.code, message: problem.detail };
  }

  backupOf(vmName = this.vmName): object {
    return { vm_name: vmName, repository_id: this.programs.repositoryId, backup_type: 'full' };
  }

  /** Asks for a backup, and for its end where it was not refused. */
  async backUp(vmName = this.vmName): Promise<Told> {
    const { ok, body } = await this.request<BackupView & { code: string; detail: string }>(
      'backups',
      this.backupOf(vmName),
    );
    if (!ok) return { outcome: 'error', code: body.code, message: body.detail };
    return this.end(body.backup_id);
  }

  /** A backup of which bytes flow. */
  async flowing(): Promise<BackupView> {
    return this.backupWhere('bytes flow', ({ progress }) => progress.bytes_done > 0);
  }

  /** A new backup when it is at some point. */
  async backupWhere(
    what: string,
    reached: (backup: BackupView) => boolean,
    vmName = this.vmName,
  ): Promise<BackupView> {
    const { body } = await this.request<BackupView>('backups', this.backupOf(vmName));
    return until(what, async () => {
      const { body: now } = await this.request<BackupView>(`backups/${body.backup_id}`);
      if (now.error) throw new SendenseError('internal', `before ${what}: ${now.error.message}`);
      return reached(now) ? now : undefined;
    });
  }

  /** How a backup ended. */
  end(backupId: string): Promise<Told> {
    return until(`${backupId} has ended`, async () => {
      const { body } = await this.request<BackupView>(`backups/${backupId}`);
      const { state, error, warnings } = body;
      if (state !== 'completed' && state !== 'failed' && state !== 'cancelled') return undefined;
      const reason = error ?? warnings[0];
      return {
        outcome: state === 'failed' ? 'error' : state,
        code: reason?.code ?? '',
        message: reason?.message ?? '',
      };
    });
  }

  /** Where the images of the VM's first disk are; it has them there from its first backup on. */
  async imageFolder(): Promise<string> {
    if (this.#imageFolder === undefined) {
      const { backup_id: id, disk_results: disks } = await this.flowing();
      this.#imageFolder = dirname(disks[0]?.qcow2_path ?? '');
      await this.request(`backups/${id}/cancel`, {});
      await this.end(id);
      await this.clean();
    }
    return this.#imageFolder;
  }

  /** One of the programs that read disks: after the plugin has started it anew it is called `exe`. */
  nbdkitPid(): number {
    const found = this.#nodeProcesses().find(({ pid }) => /^\S*nbdkit\0/.test(commandLine(pid)));
    if (found) return found.pid;
    throw new SendenseError('internal', 'no nbdkit of the node runs');
  }

  breakTool(tool: Tool, script: string | undefined): void {
    const path = toolPath(this.programs.stage, tool);
    if (script === undefined) rmSync(path);
    else writeScript(path, script);
  }

  /** Leaves so much room. */
  fillRepository(leaveMib: number): void {
    const file = join(this.programs.repositoryPath, 'filler');
    const sizeKib = Number(
      execFileSync('df', ['--output=avail', this.programs.repositoryPath]).toString().split('\n')[1],
    );
    execFileSync('fallocate', ['-l', `${sizeKib - leaveMib * 1024}KiB`, file]);
  }

  setVddk(target: string | undefined): void {
    const path = this.programs.stage.path('vddk');
    rmSync(path, { force: true });
    if (target !== undefined) symlinkSync(target, path);
  }

  moveRepository(away: boolean): void {
    const { stage, repositoryPath } = this.programs;
    const elsewhere = stage.path('repository-away');
    if (away) execFileSync('mount', ['--move', repositoryPath, mkdir(elsewhere)]);
    else execFileSync('mount', ['--move', elsewhere, repositoryPath]);
  }

  remountRepository(mode: 'ro' | 'rw'): void {
    execFileSync('mount', ['-o', `remount,${mode}`, this.programs.repositoryPath]);
  }

  async startNode(): Promise<void> {
    this.programs.stage.start('sendense-node', ['run'], this.node.environment);
    await this.nodeOnline();
  }

  nodeOnline(): Promise<unknown> {
    return until('the node is online', async () => {
      const { body } = await this.request<{ state: string }>(`nodes/${NODE}`);
      return body.state === 'online' ? body : undefined;
    });
  }

  nodeOffline(): Promise<unknown> {
    return until('the node is offline', async () => {
      const { body } = await this.request<{ state: string }>(`nodes/${NODE}`);
      return body.state === 'online' ? undefined : body;
    });
  }

  async startHub(): Promise<void> {
    await startHub(this.programs.stage, this.programs.pair.hubEnvironment);
  }

  /** Until nothing is left of any backup: no lease, process, snapshot, half-written file. */
  async clean(): Promise<void> {
    await until('nothing is left', async () => {
      const { lab } = this.programs;
      const { body } = await this.request<SystemView>('system');
      const snapshots = lab.vms().flatMap(({ moref }) => lab.snapshots(moref));
      const halfWritten = execFileSync('find', [this.programs.repositoryPath, '-name', '*.partial']).length;
      const left = body.ports.leased.length + body.processes.length + body.running.length + halfWritten;
      return left + snapshots.length + this.#nodeProcesses().length === 0 ? true : undefined;
    });
  }

  #nodeProcesses() {
    return processesOwnedBy(`node:${this.node.environment['SENDENSE_DATA_DIR']}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.owned[Symbol.asyncDispose]();
  }
}

/** The real program, behind a script that can be exchanged. @returns its path */
function makeTool(stage: Stage, tool: Tool): string {
  const path = toolPath(stage, tool);
  mkdirSync(stage.path('tools'), { recursive: true });
  writeScript(path, `exec ${tool} "$@"`);
  return path;
}

function toolPath(stage: Stage, tool: Tool): string {
  return stage.path('tools', tool);
}

/** A program that runs keeps the file that it was started from. */
function writeScript(path: string, text: string): void {
  writeFileSync(`${path}.new`, `#!/bin/sh\n${text}\n`);
  chmodSync(`${path}.new`, 0o755);
  renameSync(`${path}.new`, path);
}

/** Needs root, and a kernel that lets it. */
function mountTmpfs(path: string): boolean {
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=256m', 'tmpfs', path], { stdio: 'pipe' });
    return true;
  } catch {
    return false;
  }
}

function mkdir(path: string): string {
  mkdirSync(path, { recursive: true });
  return path;
}

/** @throws `timeout` */
async function until<T>(what: string, look: () => Promise<T | undefined>): Promise<T> {
  const end = performance.now() + PATIENCE_MS;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    if (performance.now() > end)
      throw new SendenseError('timeout', `${what}: not after ${PATIENCE_MS / 1000} s`);
    await delay(POLL_MS);
  }
}

function commandLine(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
  } catch {
    return ''; // It has ended.
  }
}
