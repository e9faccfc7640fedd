import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { SendenseError } from '@sendense/core';
import { delay, OwnedStack, processesOwnedBy, silentLogger } from '@sendense/runtime';
import { startHub } from '@sendense/stage';
import { startPrograms, startRelayedNode, type Programs, type RelayedNode } from '../programs.js';
import { BreakableDirectory, BreakableTools } from './breakable.js';

const MIB = 1 << 20;
export const NODE = 'node-1';
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

export const ACCEPTED: Told = { outcome: 'accepted', code: '', message: '' };

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

interface SystemView {
  readonly ports: { readonly leased: readonly unknown[] };
  readonly processes: readonly unknown[];
  readonly running: readonly { readonly backup_id: string }[];
}

interface Answered<T> {
  readonly ok: boolean;
  readonly body: T;
}

interface Parts {
  readonly programs: Programs;
  readonly node: RelayedNode;
  readonly tools: BreakableTools;
  readonly repository: { readonly id: string; readonly path: string };
  /** The repository's directory, where it is a file system of its own. */
  readonly mounted: BreakableDirectory | undefined;
}

/** Lab, hub and node with their default times, a VM of two disks and a small one, and all that can be broken about them. */
export class Ground implements AsyncDisposable {
  readonly vmName = 'struck';
  readonly smallVmName = 'small';
  #imageFolder: string | undefined;

  private constructor(
    private readonly parts: Parts,
    private readonly owned: OwnedStack,
  ) {}

  static async open(directory: string, say: (text: string) => void): Promise<Ground> {
    await using owned = new OwnedStack(silentLogger, PATIENCE_MS);
    let tools: BreakableTools | undefined;
    const programs = owned.use(
      'programs',
      await startPrograms(directory, say, ({ stage, lab }) => {
        tools = new BreakableTools(stage.path('tools'), lab.vddkLibdir);
        return {
          SENDENSE_QEMU_NBD: tools.path('qemu-nbd'),
          SENDENSE_QEMU_IMG: tools.path('qemu-img'),
          SENDENSE_RATE_LIMIT: String(RATE_LIMIT),
        };
      }),
    );
    if (!tools) throw new SendenseError('internal', 'the hub was started without its settings');
    const node = await startRelayedNode(programs, NODE, {
      SENDENSE_NBDKIT: tools.path('nbdkit'),
      SENDENSE_VDDK_LIBDIR: tools.path('vddk'),
    });
    owned.use('relay', node.relay);
    const path = programs.stage.path('breakable');
    mkdirSync(path);
    const mounted = BreakableDirectory.mount(path);
    if (mounted) owned.use('mount', mounted);
    const { repository_id: id } = await programs.pair.cli<{ repository_id: string }>(
      ...['repository', 'add', 'breakable', '--path', path],
    );
    await addVm(programs, node, 'struck', [64, 8]);
    await addVm(programs, node, 'small', [1]);
    say('what is to be broken is there');
    return new Ground({ programs, node, tools, repository: { id, path }, mounted }, owned.move());
  }

  get lab() {
    return this.parts.programs.lab;
  }

  get stage() {
    return this.parts.programs.stage;
  }

  get tools(): BreakableTools {
    return this.parts.tools;
  }

  get relay() {
    return this.parts.node.relay;
  }

  get canMount(): boolean {
    return this.parts.mounted !== undefined;
  }

  /** @throws `internal` where nothing can be mounted */
  get mounted(): BreakableDirectory {
    if (this.parts.mounted) return this.parts.mounted;
    throw new SendenseError('internal', 'nothing can be mounted here');
  }

  get hubEnvironment(): Record<string, string> {
    return this.parts.programs.pair.hubEnvironment;
  }

  /** POST when there is a body. */
  async request<T>(path: string, body?: object): Promise<Answered<T>> {
    const { url, token } = this.parts.programs.pair;
    const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
    const sent = body ? { method: 'POST', headers, body: JSON.stringify(body) } : { headers };
    const response = await fetch(`${url}/api/v1/${path}`, sent);
    return { ok: response.ok, body: (await response.json()) as T };
  }

  /** What the answer to a request tells. */
  async ask(path: string, body: object): Promise<Told> {
    const { ok, body: problem } = await this.request<{ code: string; detail: string }>(path, body);
    return ok ? ACCEPTED : { outcome: 'error', code: problem.code, message: problem.detail };
  }

  backupOf(vmName = this.vmName): object {
    return { vm_name: vmName, repository_id: this.parts.repository.id, backup_type: 'full' };
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
      const { code = '', message = '' } = error ?? warnings[0] ?? {};
      return { outcome: state === 'failed' ? 'error' : state, code, message };
    });
  }

  /** Where the images of the VM's first disk are; it has them there from its first backup on. */
  async imageFolder(): Promise<string> {
    if (this.#imageFolder === undefined) {
      const { disk_results: disks } = await this.flowing();
      this.#imageFolder = dirname(disks[0]?.qcow2_path ?? '');
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

  async startNode(): Promise<void> {
    this.stage.start('sendense-node', ['run'], this.parts.node.environment);
    await this.untilNode('online');
  }

  untilNode(state: 'online' | 'offline'): Promise<unknown> {
    return until(`the node is ${state}`, async () => {
      const { body } = await this.request<{ state: string }>(`nodes/${NODE}`);
      return body.state === state ? body : undefined;
    });
  }

  async startHub(): Promise<void> {
    await startHub(this.stage, this.hubEnvironment);
  }

  /** Cancels what runs, and waits until nothing is left of any backup: no lease, process, snapshot, half-written file. */
  async clean(): Promise<void> {
    await until('nothing is left', async () => {
      const { body: system } = await this.request<SystemView>('system');
      for (const { backup_id: id } of system.running) await this.request(`backups/${id}/cancel`, {});
      const snapshots = this.lab.vms().flatMap(({ moref }) => this.lab.snapshots(moref));
      const halfWritten = execFileSync('find', [this.parts.repository.path, '-name', '*.partial']).length;
      const left = system.ports.leased.length + system.processes.length + system.running.length + halfWritten;
      return left + snapshots.length + this.#nodeProcesses().length === 0 ? true : undefined;
    });
  }

  #nodeProcesses() {
    return processesOwnedBy(`node:${this.parts.node.environment['SENDENSE_DATA_DIR']}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.owned[Symbol.asyncDispose]();
  }
}

/** Under protection, its disks full of data. */
async function addVm(
  { lab, pair }: Programs,
  { vcenterId }: RelayedNode,
  name: string,
  disksMib: readonly number[],
): Promise<void> {
  const vm = await lab.createVm({ name, disks: disksMib.map((mib) => ({ sizeBytes: mib * MIB })) });
  for (const { key, sizeBytes } of vm.disks)
    await lab.guestWrite(vm.moref, key, { offset: 0, random: `${name} ${key}`, length: sizeBytes });
  await pair.cli('vm', 'protect', name, '--vcenter', vcenterId);
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
