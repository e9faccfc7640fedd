import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { Catalog } from '@sendense/catalog';
import { buildInfo } from '@sendense/runtime';
import type { TunnelServer } from '@sendense/tunnel';
import type { Nodes } from './nodes/nodes.js';
import type { Repositories } from './repositories/repositories.js';
import type { BackupRuns } from './runs/index.js';

/** What the figures are taken from, at the time when they are asked for. */
export interface Measured {
  readonly catalog: Catalog;
  readonly repositories: Repositories;
  readonly nodes: Nodes;
  readonly runs: BackupRuns;
  readonly tunnel: TunnelServer;
}

/** The hub's figures for Prometheus, with those of the process (CPU, memory, event loop lag, garbage collection). */
export class Metrics implements Disposable {
  readonly #registry = new Registry();
  readonly #requests = new Histogram({
    name: 'sendense_http_request_duration_seconds',
    help: 'HTTP requests by route and status',
    labelNames: ['method', 'route', 'status'],
    buckets: [0.005, 0.02, 0.1, 0.5, 2, 10],
    registers: [this.#registry],
  });
  readonly #backups = this.#gauge('sendense_backups', 'backups by state', 'state');
  readonly #tasks = this.#gauge('sendense_tasks', 'tasks by kind and state', 'kind', 'state');
  readonly #queue = this.#gauge('sendense_backup_queue_length', 'backups that wait for their turn');
  readonly #ports = this.#gauge('sendense_nbd_ports', 'NBD ports by state', 'state');
  readonly #bytesDone = this.#gauge('sendense_backup_bytes_done', 'bytes done by the running backups');
  readonly #bytesTotal = this.#gauge('sendense_backup_bytes_total', 'bytes to do by the running backups');
  readonly #nodes = this.#gauge('sendense_nodes', 'enrolled nodes by state', 'state');
  readonly #available = this.#gauge(
    'sendense_repository_available',
    '1 when a backup can go there now',
    'repository_id',
  );
  readonly #repositoryBytes = this.#gauge(
    'sendense_repository_bytes',
    'file system of each repository: total, used, available',
    'repository_id',
    'kind',
  );
  readonly #restorePoints = this.#gauge(
    'sendense_restore_points',
    'restore points in each repository',
    'repository_id',
  );
  readonly #cleanups = this.#gauge('sendense_cleanups_pending', 'things that could not be released yet');
  readonly #tunnelBytes = new Counter({
    name: 'sendense_tunnel_bytes_total',
    help: 'bytes through the tunnel since the start',
    labelNames: ['direction'],
    registers: [this.#registry],
  });
  readonly #tunnelConnections = this.#gauge('sendense_tunnel_connections', 'authenticated SSH connections');
  readonly #tunnelChannels = this.#gauge('sendense_tunnel_channels', 'open channels');

  constructor() {
    collectDefaultMetrics({ register: this.#registry });
    const build = this.#gauge('sendense_build_info', 'the running build', 'version', 'commit');
    build.set({ version: buildInfo.version, commit: buildInfo.commit }, 1);
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  observeRequest(method: string, route: string, status: number, seconds: number): void {
    this.#requests.observe({ method, route, status: String(status) }, seconds);
  }

  /** The text of `/metrics`. */
  async collect(measured: Measured): Promise<string> {
    this.#takeRuns(measured);
    this.#takeTunnel(measured);
    await Promise.all([
      this.#takeCatalog(measured),
      this.#takeRepositories(measured),
      this.#takeNodes(measured),
    ]);
    return this.#registry.metrics();
  }

  [Symbol.dispose](): void {
    this.#registry.clear();
  }

  #gauge<L extends string>(name: string, help: string, ...labelNames: L[]): Gauge<L> {
    return new Gauge({ name, help, labelNames, registers: [this.#registry] });
  }

  #takeRuns({ runs }: Measured): void {
    const progress = runs.running().map(({ jobId }) => runs.progress(jobId));
    this.#bytesDone.set(progress.reduce((sum, part) => sum + (part?.bytesDone ?? 0), 0));
    this.#bytesTotal.set(progress.reduce((sum, part) => sum + (part?.bytesTotal ?? 0), 0));
    this.#queue.set(runs.queue().length);
    const { leased, taken, free } = runs.leases();
    this.#ports.set({ state: 'leased' }, leased.length);
    this.#ports.set({ state: 'taken_by_others' }, taken.length);
    this.#ports.set({ state: 'free' }, free);
  }

  #takeTunnel({ tunnel }: Measured): void {
    const { bytesFromNodes, bytesToNodes, connections, channels } = tunnel.statistics();
    this.#tunnelBytes.reset(); // The tunnel counts itself.
    this.#tunnelBytes.inc({ direction: 'from_nodes' }, bytesFromNodes);
    this.#tunnelBytes.inc({ direction: 'to_nodes' }, bytesToNodes);
    this.#tunnelConnections.set(connections);
    this.#tunnelChannels.set(channels);
  }

  async #takeCatalog({ catalog }: Measured): Promise<void> {
    const counts = await catalog.backups.countByState();
    for (const [state, count] of Object.entries(counts)) this.#backups.set({ state }, count);
    this.#tasks.reset();
    for (const { kind, state, count } of await catalog.tasks.countByKindAndState())
      this.#tasks.set({ kind, state }, count);
    this.#cleanups.set((await catalog.cleanups.list()).length);
  }

  async #takeRepositories({ repositories }: Measured): Promise<void> {
    const all = await repositories.list();
    this.#available.reset();
    this.#repositoryBytes.reset();
    this.#restorePoints.reset();
    for (const { record, status } of all) {
      const repository_id = record.id;
      this.#available.set({ repository_id }, status.available ? 1 : 0);
      this.#restorePoints.set({ repository_id }, record.backupCount);
      if (!status.space) continue;
      this.#repositoryBytes.set({ repository_id, kind: 'total' }, status.space.totalBytes);
      this.#repositoryBytes.set({ repository_id, kind: 'used' }, status.space.usedBytes);
      this.#repositoryBytes.set({ repository_id, kind: 'available' }, status.space.availableBytes);
    }
  }

  async #takeNodes({ nodes }: Measured): Promise<void> {
    const { online, offline } = await nodes.countByState();
    this.#nodes.set({ state: 'online' }, online);
    this.#nodes.set({ state: 'offline' }, offline);
  }
}
