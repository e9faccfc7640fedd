import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import {
  startLab,
  type Lab,
  type LabOptions,
  type LabVm,
  type SnapshotHistory,
  type VmSpec,
} from '@sendense/lab';
import { createNode, enrolNode, type Node, type NodeConfig } from '@sendense/node-agent';
import { QemuImg } from '@sendense/qemu';
import { OwnedStack, processesOwnedBy, silentLogger, type Logger } from '@sendense/runtime';
import { eventually, temporaryDirectory } from '@sendense/runtime/testing';
import { ownerMark } from '../src/config.js';
import { createBackupRuns, type RunTiming } from '../src/runs/index.js';
import { TestHub, type Answer } from '../src/testing/test-hub.js';
import { FAST, freePortRange } from './stage/spine.js';

const PLUGIN = process.env['SENDENSE_NBDKIT_VDDK_PLUGIN'];

/** Tools that a whole constellation needs. */
export const CONSTELLATION_TOOLS = ['nbdkit', 'qemu-nbd', 'qemu-img', PLUGIN ?? 'nbdkit'];

/** A context's answer of `/api/v1/backups/{id}`, as far as tests look at it. */
export interface BackupBody {
  readonly backup_id: string;
  readonly state: string;
  readonly progress: { readonly bytes_done: number };
  readonly disk_results: readonly {
    readonly disk_key: number;
    readonly disk_number: number;
    readonly backup_type: string;
    readonly reason: string;
    readonly audited_blocks: number | null;
    readonly nbd_port: number;
    readonly nbd_export_name: string;
    readonly qcow2_path: string;
    readonly qemu_nbd_pid: number;
    readonly status: string;
  }[];
  readonly nbd_targets_string: string;
  readonly snapshot: { readonly moref: string; readonly removed_at: string | null } | null;
  readonly error: { readonly code: string; readonly message: string } | null;
  readonly warnings: readonly { readonly code: string; readonly message: string }[];
}

export interface ConstellationOptions {
  /** Of the hub: `SENDENSE_…`. */
  readonly settings?: Record<string, string>;
  readonly timing?: Partial<RunTiming>;
  readonly node?: Partial<NodeConfig>;
  readonly lab?: Partial<LabOptions>;
  readonly log?: Logger;
}

/**
 * The whole system in one process, all of it real but vCenter and VMware's library: lab, hub with API and tunnel, an
 * enrolled node, one repository, one vCenter.
 */
export class Constellation implements AsyncDisposable {
  static readonly nodeName = 'site-1';
  readonly #images = new QemuImg({});
  readonly #historyAtProtection = new Map<string, SnapshotHistory>();

  private constructor(
    readonly lab: Lab,
    readonly hub: TestHub,
    readonly nodeConfig: NodeConfig,
    readonly repository: { readonly id: string; readonly path: string },
    readonly vcenterId: string,
    private readonly log: Logger,
    private readonly owned: OwnedStack,
  ) {}

  static async start(options: ConstellationOptions = {}): Promise<Constellation> {
    const log = options.log ?? silentLogger;
    await using owned = new OwnedStack(log, 90_000);
    const folder = owned.use('folder', temporaryDirectory('sdc'));
    const lab = owned.use(
      'lab',
      await startLab({ directory: join(folder.path, 'lab'), keepFrozenImages: true, ...options.lab }),
    );
    const { first, last } = await freePortRange(32);
    const hub = owned.use(
      'hub',
      await TestHub.start({
        settings: { SENDENSE_NBD_PORTS: `${first}-${last}`, ...options.settings },
        parts: {
          createRuns: (dependencies) =>
            createBackupRuns({ ...dependencies, timing: { ...FAST, ...options.timing } }),
        },
        log,
      }),
    );
    const nodeConfig = { ...labNodeConfig(folder.path, lab), ...options.node };
    await enrol(hub, nodeConfig);
    const repository = await hub.addRepository();
    // The rest belongs to the constellation, whose node can be restarted.
    const own = owned.move();
    const constellation = new Constellation(lab, hub, nodeConfig, repository, 'vcenter-lab', log, own);
    try {
      await constellation.startNode();
      await constellation.#addVcenter();
      return constellation;
    } catch (error) {
      await constellation[Symbol.asyncDispose]();
      throw error;
    }
  }

  #node: Node | undefined;

  get node(): Node {
    if (!this.#node) throw new Error('the node is stopped');
    return this.#node;
  }

  async startNode(config = this.nodeConfig): Promise<void> {
    this.#node = await createNode(config, this.log);
    await eventually('the node is online', async () => (await this.nodeState()) === 'online');
  }

  async stopNode(): Promise<void> {
    await this.#node?.[Symbol.asyncDispose]();
    this.#node = undefined;
    await eventually('the node is offline', async () => (await this.nodeState()) === 'offline');
  }

  /**
   * A VM with random data at the beginning of each disk, under protection.
   *
   * @param before what happens to it before it is protected
   */
  async addVm(spec: VmSpec, dataBytes = 4 << 20, before?: (vm: LabVm) => Promise<unknown>): Promise<LabVm> {
    const vm = await this.lab.createVm(spec);
    for (const { key, sizeBytes, mode } of vm.disks) {
      const length = Math.min(dataBytes, sizeBytes);
      if (mode === 'persistent' && length > 0)
        await this.lab.guestWrite(vm.moref, key, { offset: 0, random: `${vm.name} ${key}`, length });
    }
    await before?.(vm);
    const { status, text } = await this.hub.post('/api/v1/vms', {
      vcenter_id: this.vcenterId,
      moref: vm.moref,
    });
    if (status !== 201) throw new Error(`protecting ${vm.name}: ${text}`);
    this.#historyAtProtection.set(vm.moref, this.lab.snapshotHistory(vm.moref));
    return this.lab.vm(vm.moref);
  }

  /** The snapshots that were made and removed since it was protected: that starts changed block tracking with one. */
  snapshotsSince({ moref }: LabVm): SnapshotHistory {
    const before = this.#historyAtProtection.get(moref) ?? { created: 0, removed: 0 };
    const { created, removed } = this.lab.snapshotHistory(moref);
    return { created: created - before.created, removed: removed - before.removed };
  }

  /** The answer of POST /api/v1/backups. */
  start(vmName: string, more: Record<string, unknown> = {}): Promise<Answer> {
    return this.hub.post('/api/v1/backups', {
      vm_name: vmName,
      repository_id: this.repository.id,
      backup_type: 'full',
      ...more,
    });
  }

  async backup(backupId: string): Promise<BackupBody> {
    return (await this.hub.get(`/api/v1/backups/${backupId}`)).body as unknown as BackupBody;
  }

  /** How the backup ended. */
  end(backupId: string, timeoutMs = 60_000): Promise<BackupBody> {
    return eventually(
      `${backupId} has ended`,
      async () => {
        const body = await this.backup(backupId);
        return ['completed', 'failed', 'cancelled'].includes(body.state) ? body : undefined;
      },
      timeoutMs,
    );
  }

  /** A backup of which bytes flow. */
  async flowing(vmName: string, more: Record<string, unknown> = {}): Promise<BackupBody> {
    const id = String((await this.start(vmName, more)).body['backup_id']);
    return eventually('bytes flow', async () => {
      const body = await this.backup(id);
      return body.progress.bytes_done > 0 ? body : undefined;
    });
  }

  /** A backup from its start to its end. */
  async backUp(vmName: string, more: Record<string, unknown> = {}): Promise<BackupBody> {
    const { status, body, text } = await this.start(vmName, more);
    if (status !== 202) throw new Error(`the backup of ${vmName} was refused: ${text}`);
    return this.end(String(body['backup_id']));
  }

  /** Per disk key, whether the image is what the backup's snapshot froze. */
  async compare(vm: LabVm, { disk_results, snapshot }: BackupBody): Promise<Record<number, boolean>> {
    if (!snapshot) throw new Error('the backup took no snapshot');
    const same: Record<number, boolean> = {};
    for (const { disk_key: key, qcow2_path: image } of disk_results) {
      const frozen = await this.lab.diskImage(vm.moref, key, { snapshot: snapshot.moref });
      same[key] = (await this.#images.compare(image, frozen, { formatA: 'qcow2', formatB: 'raw' })).identical;
    }
    return same;
  }

  /** Those that the hub has started and that are running. */
  hubProcesses(): { pid: number; command: string }[] {
    return processesOwnedBy(ownerMark(this.hub.config.dataDirectory));
  }

  /** Those that the node has started for its jobs. */
  nodeProcesses(): { pid: number; command: string }[] {
    return processesOwnedBy(`node:${this.nodeConfig.dataDirectory}`);
  }

  /** What may not be left once no backup runs. */
  leftovers(): Record<string, unknown> {
    const { runs } = this.hub.hub.context;
    const hubProcesses = this.hubProcesses();
    return {
      leases: runs.leases().leased,
      running: runs.running(),
      // The tunnel's workers are no leftover.
      qemuNbd: hubProcesses.filter(({ command }) => command === 'qemu-nbd'),
      halfWritten: readdirSync(this.repository.path, { recursive: true, encoding: 'utf8' }).filter((file) =>
        file.endsWith('.partial'),
      ),
      nodeProcesses: this.nodeProcesses(),
      snapshots: this.lab
        .vms()
        .flatMap(({ moref }) => this.lab.snapshots(moref).filter(({ name }) => name.startsWith('sendense-'))),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#node?.[Symbol.asyncDispose]();
    await this.owned[Symbol.asyncDispose]();
  }

  async nodeState(): Promise<unknown> {
    return (await this.hub.get(`/api/v1/nodes/${Constellation.nodeName}`)).body['state'];
  }

  async #addVcenter(): Promise<void> {
    const { endpoint, username, password, thumbprints } = this.lab;
    const { status, text } = await this.hub.post('/api/v1/vcenters', {
      ...{ name: 'lab', node_name: Constellation.nodeName },
      ...{ endpoint, username, password, thumbprint: thumbprints.sha256 },
    });
    if (status !== 201) throw new Error(`adding the vCenter: ${text}`);
  }
}

export const NOTHING_LEFT = {
  ...{ leases: [], running: [], qemuNbd: [], nodeProcesses: [], snapshots: [] },
  halfWritten: [],
};

/** A node in this folder that reads the lab's disks. */
export function labNodeConfig(folder: string, { vddkLibdir, vddkEnvironment }: Lab): NodeConfig {
  return {
    dataDirectory: join(folder, 'node'),
    runtimeDirectory: join(folder, 'run'),
    logLevel: 'silent',
    nbdkit: 'nbdkit',
    nbdkitVddkPlugin: PLUGIN ?? 'vddk',
    vddkLibdir,
    lanes: 2,
    parallelDisks: 4,
    clientEnvironment: vddkEnvironment,
  };
}

async function enrol(hub: TestHub, { dataDirectory }: NodeConfig): Promise<void> {
  const { body } = await hub.post('/api/v1/nodes', { name: Constellation.nodeName });
  const { host, port } = hub.hub.tunnelAddress;
  await enrolNode({ dataDirectory, hub: { host, port }, token: String(body['enrolment_token']) });
}
