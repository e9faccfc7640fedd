import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { mariaDbTarget, openCatalog, type BackupRecord, type Catalog } from '@sendense/catalog';
import { OwnedStack, processesOwnedBy, silentLogger, type Logger, type PortRange } from '@sendense/runtime';
import { eventually } from '@sendense/runtime/testing';
import { ChainLocks } from '../../src/chains/locks.js';
import { NodeConnections } from '../../src/node-client.js';
import type { NodeLimits } from '../../src/node-limits.js';
import { Repositories } from '../../src/repositories/repositories.js';
import {
  createBackupRuns,
  type BackupRequest,
  type BackupRuns,
  type BackupRunsDependencies,
  type RunTiming,
} from '../../src/runs/index.js';
import type { FakeNode } from './fake-node.js';
import type { FakeVm } from './fake-vm.js';

export const FAST: Partial<RunTiming> = {
  nodeLostMs: 1_500,
  nodeLostWhileSealingMs: 1_500,
  nodeCancelMs: 5_000,
  spaceCheckMs: 50,
  portRetryMs: 100,
  reaperMs: 100,
  reaperMaxMs: 500,
};

export const PASSWORD = 'correct-horse-8831';

export interface SpineOptions {
  /** Holds `data` and the repository; made when it is not given. */
  readonly folder?: string;
  readonly repositoryPath?: string;
  /** The catalogue on MariaDB. */
  readonly databaseUrl?: string;
  readonly ports?: PortRange;
  readonly limits?: { total?: number; perNode?: number; perHost?: number; perDatastore?: number };
  readonly timing?: Partial<RunTiming>;
  readonly nodeLimits?: Partial<NodeLimits>;
  readonly qemuNbd?: string;
  readonly qemuImg?: string;
  readonly cbtAuditBlocks?: number;
  readonly onCompleted?: BackupRunsDependencies['onCompleted'];
  readonly log?: Logger;
}

/** How the hub reaches a node; of a fake node, or of its socket alone in another process. */
export interface SpineNode {
  readonly name: string;
  readonly connected: boolean;
  readonly socketPath: string;
}

/**
 * The backup runs of a hub on a real catalogue, real repositories and real qemu-nbd, without API and tunnel: the node is
 * reached directly.
 */
export class Spine implements AsyncDisposable {
  private constructor(
    readonly folder: string,
    readonly ports: PortRange,
    readonly catalog: Catalog,
    readonly repositories: Repositories,
    readonly locks: ChainLocks,
    readonly runs: BackupRuns,
    private readonly owned: OwnedStack,
  ) {}

  static async start(node: SpineNode, options: SpineOptions = {}): Promise<Spine> {
    const log = options.log ?? silentLogger;
    await using owned = new OwnedStack(log);
    const folder = options.folder ?? mkdtempSync(join(tmpdir(), 'sds-'));
    if (options.folder === undefined)
      owned.defer('folder', () => rmSync(folder, { recursive: true, force: true }));
    const data = join(folder, 'data');
    mkdirSync(data, { recursive: true, mode: 0o700 });
    const catalog = owned.use(
      'catalogue',
      await openCatalog({
        ...{ directory: data, asHub: true, log },
        database: options.databaseUrl === undefined ? undefined : mariaDbTarget(options.databaseUrl),
      }),
    );
    const repositories = new Repositories({ catalog, hubId: 'hub-of-the-test', ownDirectories: [data], log });
    const connections = owned.use(
      'node connections',
      new NodeConnections(
        { isConnected: () => node.connected, socketPath: () => node.socketPath },
        options.nodeLimits,
      ),
    );
    const locks = new ChainLocks({ catalog, log });
    const ports = options.ports ?? (await freePortRange(10));
    const runs = owned.use(
      'runs',
      await createBackupRuns({
        catalog,
        repositories,
        locks,
        nodes: {
          isConnected: () => node.connected,
          client: (name) => connections.client(name),
          revokeJob: async () => undefined,
        },
        config: {
          nbdPorts: ports,
          limits: { total: 50, perNode: 50, perHost: 50, perDatastore: 50, ...options.limits },
          qemuNbd: options.qemuNbd ?? 'qemu-nbd',
          qemuImg: options.qemuImg ?? 'qemu-img',
          rateLimitBytesPerSecond: 0,
          cbtAuditBlocks: options.cbtAuditBlocks ?? 64,
        },
        owner: ownerOf(folder),
        engine: 'test 0 (abc)',
        ...(options.onCompleted ? { onCompleted: options.onCompleted } : {}),
        log,
        // What a start answers with does not depend on how busy the machine is.
        timing: { ...FAST, answerMs: 15_000, ...options.timing },
      }),
    );
    const spine = new Spine(folder, ports, catalog, repositories, locks, runs, owned.move());
    if ((await catalog.nodes.list()).length === 0) await spine.#enrol(node, options.repositoryPath);
    return spine;
  }

  async #enrol(node: SpineNode, repositoryPath = join(this.folder, 'repository')): Promise<void> {
    const { catalog } = this;
    await catalog.nodes.create(node.name);
    await catalog.vcenters.create({
      name: 'vc',
      nodeName: node.name,
      endpoint: 'vcenter.example',
      username: 'backup',
      password: PASSWORD,
      thumbprint: 'ab'.repeat(32),
    });
    mkdirSync(repositoryPath, { recursive: true });
    await this.repositories.add({ name: 'main', type: 'local', path: repositoryPath });
  }

  async repository(): Promise<{ id: string; path: string }> {
    const [repository] = await this.catalog.repositories.list();
    return repository!;
  }

  /** Puts the VM under protection. @returns its context id */
  async protect(vm: FakeVm): Promise<string> {
    const { disks, ...rest } = vm.toMessage();
    const [vcenter] = await this.catalog.vcenters.list();
    const record = await this.catalog.vms.protect(vcenter!.id, {
      ...rest,
      disks: disks.map(({ capacityBytes, unsupportedReason, ...disk }) => ({
        ...disk,
        capacityBytes: Number(capacityBytes),
        ...(unsupportedReason === '' ? {} : { unsupportedReason }),
      })),
    });
    return record.contextId;
  }

  async request(contextId: string, more: Partial<BackupRequest> = {}): Promise<BackupRequest> {
    const { id: repositoryId } = await this.repository();
    return { contextId, repositoryId, type: 'full', quiesce: false, requestedBy: 'test', ...more };
  }

  async start(contextId: string, more: Partial<BackupRequest> = {}): Promise<BackupRecord> {
    return this.runs.start(await this.request(contextId, more));
  }

  /** How the backup ended. */
  async end(backupId: string, timeoutMs = 20_000): Promise<BackupRecord> {
    return eventually(
      `${backupId} has ended`,
      async () => {
        // First what costs nothing.
        if (this.runs.running().some(({ jobId }) => jobId === backupId)) return undefined;
        const record = await this.catalog.backups.get(backupId);
        return 'endedAt' in record ? record : undefined;
      },
      timeoutMs,
    );
  }

  async backUp(contextId: string, more: Partial<BackupRequest> = {}): Promise<BackupRecord> {
    return this.end((await this.start(contextId, more)).id);
  }

  /** What a backup that is over may not have left. */
  async leftovers(node: FakeNode): Promise<Record<string, unknown>> {
    const { path } = await this.repository();
    return {
      leases: this.runs.leases().leased,
      running: this.runs.running(),
      queue: this.runs.queue(),
      processes: processesOwnedBy(ownerOf(this.folder)),
      partialFiles: files(path).filter((name) => name.includes('.partial')),
      snapshots: node.snapshotsLeft,
      cleanups: (await this.catalog.cleanups.list()).map(({ what }) => what),
      locks: (await this.catalog.chainLocks.list()).map(({ holderId }) => holderId),
    };
  }

  /** Every file of the repository, relative to it, without its mark. */
  async files(): Promise<string[]> {
    const { path } = await this.repository();
    return files(path);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.owned[Symbol.asyncDispose]();
  }
}

export const NOTHING_LEFT = {
  leases: [],
  running: [],
  queue: [],
  processes: [],
  partialFiles: [],
  snapshots: 0,
  cleanups: [],
  locks: [],
};

export function ownerOf(folder: string): string {
  return `hub:${join(folder, 'data')}`;
}

function files(path: string): string[] {
  return readdirSync(path, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name).slice(path.length + 1))
    .filter((name) => name.includes('/'))
    .toSorted();
}

/** Ports below the ephemeral ones that nobody listens on now. */
export async function freePortRange(count: number): Promise<PortRange> {
  for (;;) {
    const first = 12_000 + Math.floor(Math.random() * (20_000 - count));
    const free = await Promise.all(Array.from({ length: count }, (_, index) => isFree(first + index)));
    if (free.every(Boolean)) return { first, last: first + count - 1 };
  }
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen({ host: '127.0.0.1', port, exclusive: true }, () => server.close(() => resolve(true)));
  });
}
