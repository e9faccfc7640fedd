import { openCatalog, type Catalog } from '@sendense/catalog';
import type { SendenseError } from '@sendense/core';
import {
  buildInfo,
  createLogger,
  lockDirectory,
  OwnedStack,
  type Listen,
  type Logger,
} from '@sendense/runtime';
import { keyFingerprint, startTunnelServer, type TunnelServer } from '@sendense/tunnel';
import { openListener, type ApiListener } from './api/listener.js';
import { buildApi } from './api/server.js';
import { AuditTrail } from './audit-trail.js';
import { ChainLocks } from './chains/locks.js';
import { ScheduledVerification } from './chains/schedule-verify.js';
import { ownerMark, type HubConfig } from './config.js';
import type { HubContext } from './context.js';
import { ownDirectory } from './directories.js';
import { ExportDirectory } from './exports/export-directory.js';
import { hostKey } from './host-key.js';
import { Metrics } from './metrics.js';
import type { NodeLimits } from './node-limits.js';
import { Nodes } from './nodes/nodes.js';
import { HubTunnelPolicy } from './policy.js';
import { naming } from './port-holder.js';
import { Repositories } from './repositories/repositories.js';
import { Retention } from './retention/retention.js';
import { createBackupRuns, type BackupRuns, type BackupRunsDependencies } from './runs/index.js';
import { startTasks } from './tasks/start-tasks.js';
import { Vcenters } from './vcenters/vcenters.js';

/** A running hub. Disposing it stops it in order: no new requests, the runs, the tunnel, the catalogue, the lock. */
export interface Hub extends AsyncDisposable {
  /** Where the API listens now. */
  readonly apiAddress: Listen;
  readonly tunnelAddress: Listen;
  /** Settles when another hub has taken the catalogue over: this one has to end. */
  readonly takenOver: Promise<SendenseError>;
  /** For the tests of its parts. */
  readonly context: HubContext;
}

/** What each step of stopping may take, in ms; a run needs the longest, to take its snapshot away. */
const RELEASE_TIMEOUT_MS = 60_000;

/** What can be exchanged: the tests of the API bring backup runs of their own, whose every step they decide. */
export interface HubParts {
  /** @default createBackupRuns */
  readonly createRuns?: (dependencies: BackupRunsDependencies) => Promise<BackupRuns>;
  /** @default NODE_LIMITS */
  readonly nodeLimits?: Partial<NodeLimits>;
}

/**
 * Starts a hub. When one step fails, the ones before it are undone, so that nothing of it is left.
 *
 * @throws `data_directory_in_use`, `catalog_in_use`, `port_in_use` (they name who), `catalog_schema_newer`, `permission_denied`, …
 */
export async function createHub(
  config: HubConfig,
  log: Logger = createLogger({ service: 'sendense-hub', level: config.logLevel }),
  { createRuns = createBackupRuns, nodeLimits = {} }: HubParts = {},
): Promise<Hub> {
  await using acquired = new OwnedStack(log, RELEASE_TIMEOUT_MS);
  const dataDirectory = await ownDirectory(config.dataDirectory, 'SENDENSE_DATA_DIR');
  await ownDirectory(config.runtimeDirectory, 'SENDENSE_RUNTIME_DIR');
  acquired.use(
    'data directory',
    lockDirectory(dataDirectory, { service: 'sendense-hub', version: buildInfo.version }),
  );
  const catalog = acquired.use(
    'catalogue',
    await openCatalog({ directory: dataDirectory, database: config.database, asHub: true, log }),
  );
  const hostKeyPem = await hostKey(dataDirectory);

  const stopping = new AbortController();
  const audit = acquired.use('audit trail', new AuditTrail(catalog, log));
  const metrics = acquired.use('metrics', new Metrics());
  const nodes = acquired.use(
    'node connections',
    new Nodes({ catalog, runtimeDirectory: config.runtimeDirectory, log, limits: nodeLimits }),
  );
  const hubId = keyFingerprint(hostKeyPem);
  const ownDirectories = [dataDirectory, config.runtimeDirectory];
  const repositories = new Repositories({ catalog, hubId, ownDirectories, log });
  const exports = new ExportDirectory({ path: config.exportDirectory, hubId, ownDirectories });
  const locks = new ChainLocks({ catalog, log });
  const owner = ownerMark(dataDirectory);
  // The runs start before there is anything that could be done after a backup; those that they finish then wait for it.
  const early: Parameters<Retention['afterBackup']>[] = [];
  let afterBackup: Retention['afterBackup'] = (...chain) => Promise.resolve(void early.push(chain));
  const { runs, tunnel } = await startDataPlane({
    createRuns,
    onCompleted: (...chain) => afterBackup(...chain),
    config,
    owner,
    hostKeyPem,
    acquired,
    catalog,
    audit,
    nodes,
    repositories,
    locks,
    log,
  });
  const shared = { config, catalog, locks, audit, repositories, exports, owner, log };
  const tasks = await startTasks(shared, acquired);
  const retention = new Retention({ catalog, tasks, log });
  afterBackup = (...chain) => retention.afterBackup(...chain);
  for (const chain of early) await retention.afterBackup(...chain);
  const context: HubContext = {
    config,
    log,
    catalog,
    repositories,
    nodes,
    runs,
    tasks,
    retention,
    exports,
    locks,
    tunnel,
    audit,
    metrics,
    vcenters: new Vcenters(catalog, nodes),
    startedAt: new Date(),
    stopping: stopping.signal,
  };
  const schedule = new ScheduledVerification({ ...context, schedule: config.verification });
  acquired.use('scheduled verification', schedule).start();
  const listener = await startApi(context, acquired);
  acquired.defer('streams of events', () => stopping.abort());
  const owned = acquired.move();
  return {
    get apiAddress() {
      return listener.address;
    },
    tunnelAddress: tunnel.address,
    takenOver: catalog.takenOver,
    context,
    [Symbol.asyncDispose]: () => owned[Symbol.asyncDispose](),
  };
}

async function startApi(context: HubContext, acquired: OwnedStack): Promise<ApiListener> {
  const { config, catalog, log } = context;
  const { app, server } = await buildApi(context);
  acquired.defer('API', () => app.close());
  const listening = openListener({ server, listen: config.apiListen, tokens: catalog.tokens, log });
  return acquired.use('API listener', await listening);
}

interface DataPlaneOptions extends Required<Pick<HubParts, 'createRuns'>> {
  readonly onCompleted: Retention['afterBackup'];
  readonly config: HubConfig;
  readonly owner: string;
  readonly hostKeyPem: string;
  readonly acquired: OwnedStack;
  readonly catalog: Catalog;
  readonly audit: AuditTrail;
  readonly nodes: Nodes;
  readonly repositories: Repositories;
  readonly locks: ChainLocks;
  readonly log: Logger;
}

/**
 * The runs start first, because they end what an earlier hub left behind and could not tell the tunnel's workers from
 * that. They stop first too, because they need the tunnel to take their snapshots away.
 */
async function startDataPlane(
  options: DataPlaneOptions,
): Promise<{ readonly runs: BackupRuns; readonly tunnel: TunnelServer }> {
  const { createRuns, onCompleted, config, owner, hostKeyPem, acquired } = options;
  const { catalog, audit, nodes, repositories, locks, log } = options;
  const engine = `${buildInfo.version} (${buildInfo.commit})`;
  const shared = { catalog, nodes, repositories, locks, config, owner, log };
  const runs = await createRuns({ ...shared, engine, onCompleted });
  let stopped: Promise<void> | undefined;
  const stopRuns = () => (stopped ??= Promise.resolve(runs[Symbol.asyncDispose]()));
  acquired.defer('backup runs', stopRuns);
  const tunnel = acquired.use(
    'tunnel',
    await naming(config.tunnelListen.port, 'SENDENSE_TUNNEL_LISTEN', () =>
      startTunnelServer({
        listen: config.tunnelListen,
        hostKeyPem,
        workers: config.tunnelWorkers,
        runtimeDirectory: config.runtimeDirectory,
        policy: new HubTunnelPolicy({ catalog, runs, nodes, audit, log }),
        owner,
        log,
      }),
    ),
  );
  nodes.attach(tunnel);
  acquired.defer('backup runs', stopRuns);
  return { runs, tunnel };
}
