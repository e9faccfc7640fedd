import type { Socket } from 'node:net';
import { OwnedStack, type Listen, type Logger } from '@sendense/runtime';
import { keyFingerprint, publicKeyOf } from '../keys.js';
import { Connections, type HubConnection } from './connections.js';
import { ControlConnections } from './control-connections.js';
import { Decisions } from './decisions.js';
import { DEFAULT_LIMITS, type TunnelLimits } from './limits.js';
import { Listener } from './listener.js';
import type { FromWorker } from './messages.js';
import { NodeSockets } from './node-sockets.js';
import type { TunnelPolicy } from './policy.js';
import { RefusalReport } from './refusals.js';
import { WorkerPool } from './worker-pool.js';
import type { WorkerProcess } from './worker-process.js';

export interface TunnelServerOptions {
  /** Port 0 takes a free one: see {@link TunnelServer.address}. */
  readonly listen: Listen;
  /** ed25519 private key, OpenSSH format. */
  readonly hostKeyPem: string;
  /** Number of worker processes. */
  readonly workers: number;
  /** A node's socket is `<runtimeDirectory>/nodes/<name>.sock`, 0600, while the node is connected. */
  readonly runtimeDirectory: string;
  readonly policy: TunnelPolicy;
  /** Owner mark of the worker processes. */
  readonly owner: string;
  readonly log: Logger;
  readonly limits?: Partial<TunnelLimits>;
}

export interface TunnelStatistics {
  readonly workers: number;
  readonly workerRestarts: number;
  /** Connections that have not authenticated yet. */
  readonly unauthenticated: number;
  /** Authenticated connections: control, lanes, stock clients. */
  readonly connections: number;
  readonly channels: number;
  readonly bytesFromNodes: number;
  readonly bytesToNodes: number;
  /** Everything that was refused, whether it was reported or left out of a flood. */
  readonly refusals: number;
  readonly connectedNodes: readonly string[];
  readonly workerPids: readonly number[];
}

export interface TunnelServer extends AsyncDisposable {
  readonly address: Listen;
  /** `SHA256:…`, as ssh-keygen -l shows it. */
  readonly hostKeyFingerprint: string;
  isConnected(nodeName: string): boolean;
  /** Where the node's gRPC API is reached while it is connected. */
  socketPath(nodeName: string): string;
  /** Closes every connection of the node (it was revoked). */
  disconnectNode(nodeName: string, reason: string): Promise<void>;
  /** Closes the channels and lanes of a job: its ports were given back. */
  revokeJob(jobId: string): Promise<void>;
  /** At most a second old. */
  statistics(): TunnelStatistics;
}

/**
 * Accepts the nodes' SSH connections. Resolves when the port is open.
 *
 * @throws `port_in_use` when another process holds the port, `permission_denied` for a port below 1024,
 *   `invalid_argument` (host key), `invalid_config` (address, path too long), `process_failed` (a worker did not start)
 */
export async function startTunnelServer(options: TunnelServerOptions): Promise<TunnelServer> {
  const hostKeyFingerprint = keyFingerprint(publicKeyOf(options.hostKeyPem));
  const limits = { ...DEFAULT_LIMITS, ...options.limits };
  const { log, policy } = options;
  const sockets = new NodeSockets(options.runtimeDirectory);
  await using acquired = new OwnedStack(log);
  acquired.defer('sockets of the nodes', () => sockets.clear());
  const refusals = acquired.use(
    'refusals',
    new RefusalReport((refusal) => {
      log.info(refusal, 'tunnel: refused');
      policy.refused(refusal);
    }),
  );
  const desk = new Desk(policy, sockets, refusals, limits, log);
  const pool = acquired.use(
    'tunnel workers',
    await WorkerPool.start({
      workers: options.workers,
      config: { hostKeyPem: options.hostKeyPem, limits },
      owner: options.owner,
      log,
      onMessage: (worker, message) => desk.receive(worker, message),
      onLost: (worker, reason) => desk.workerLost(worker, reason),
    }),
  );
  const listener = acquired.use(
    'tunnel port',
    await Listener.open(options.listen, log, (socket, remoteAddress) => {
      desk.accept(pool, socket, remoteAddress);
    }),
  );
  log.info({ ...listener.address, workers: pool.size, hostKeyFingerprint }, 'tunnel open');
  const owned = acquired.move();
  return {
    address: listener.address,
    hostKeyFingerprint,
    isConnected: (nodeName) => desk.controls.isConnected(nodeName),
    socketPath: (nodeName) => sockets.path(nodeName),
    disconnectNode: async (nodeName, reason) => desk.disconnectNode(nodeName, reason),
    revokeJob: async (jobId) => desk.revokeJob(pool, jobId),
    statistics: () => desk.statistics(pool),
    [Symbol.asyncDispose]: async () => owned[Symbol.asyncDispose](),
  };
}

/** Where the connections of all workers come together. */
class Desk {
  readonly #connections = new Connections();
  readonly #decisions: Decisions;
  readonly controls: ControlConnections;

  constructor(
    policy: TunnelPolicy,
    sockets: NodeSockets,
    private readonly refusals: RefusalReport,
    private readonly limits: TunnelLimits,
    private readonly log: Logger,
  ) {
    this.controls = new ControlConnections(sockets, policy, log);
    this.#decisions = new Decisions(policy, this.#connections, this.controls, limits, log);
  }

  /** A stranger is at the door. When there are too many, the one that has dawdled longest goes. */
  accept(pool: WorkerPool, socket: Socket, remoteAddress: string): void {
    const strangers = this.#connections.strangers();
    const [oldest] = strangers;
    if (oldest && strangers.length >= this.limits.maxUnauthenticated) {
      oldest.state = 'leaving';
      void oldest.worker.order({ type: 'drop', connectionId: oldest.id, reason: 'too many strangers' });
    }
    const worker = this.#idlest(pool);
    if (!worker) {
      // All of them are being started again: the peer comes back.
      socket.destroy();
      return;
    }
    worker.carry(this.#connections.add(worker, remoteAddress).id, remoteAddress, socket);
  }

  receive(worker: WorkerProcess, message: FromWorker): void {
    if (message.type === 'refused') {
      this.refusals.add(message.refusal);
      return;
    }
    if (!('connectionId' in message)) return;
    const connection = this.#connections.get(message.connectionId);
    if (!connection) return;
    switch (message.type) {
      case 'question':
        void this.#decisions.answer(connection, message.question).then((answer) => {
          worker.answer(message.id, answer);
        });
        break;
      case 'authenticated':
        connection.state = 'authenticated';
        this.log.debug({ ...connection.user, from: connection.remoteAddress }, 'tunnel: connected');
        break;
      case 'api_withdrawn':
        this.controls.release(connection, 'the node withdrew its API');
        break;
      case 'closed':
        this.#closed(connection, message.reason);
        break;
    }
  }

  workerLost(worker: WorkerProcess, reason: string): void {
    for (const connection of this.#connections.of(worker)) this.#closed(connection, reason);
  }

  async disconnectNode(nodeName: string, reason: string): Promise<void> {
    this.#decisions.nodeRevoked(nodeName);
    await Promise.all(
      this.#connections.ofNode(nodeName).map(async ({ worker, id }) => {
        await worker.order({ type: 'drop', connectionId: id, reason });
      }),
    );
  }

  async revokeJob(pool: WorkerPool, jobId: string): Promise<void> {
    this.#decisions.jobRevoked(jobId);
    await Promise.all(pool.workers().map(async (worker) => worker.order({ type: 'revoke_job', jobId })));
  }

  statistics(pool: WorkerPool): TunnelStatistics {
    const { channels, fromPeerBytes, toPeerBytes } = pool.counters();
    return {
      workers: pool.size,
      workerRestarts: pool.restarts,
      unauthenticated: this.#connections.strangers().length,
      connections: this.#connections.authenticated().length,
      channels,
      bytesFromNodes: fromPeerBytes,
      bytesToNodes: toPeerBytes,
      refusals: this.refusals.total,
      connectedNodes: this.controls.connectedNodes(),
      workerPids: pool.workers().map(({ pid }) => pid),
    };
  }

  #closed(connection: HubConnection, reason: string): void {
    this.#connections.remove(connection.id);
    this.controls.release(connection, reason);
    this.log.debug({ ...connection.user, from: connection.remoteAddress, reason }, 'tunnel: closed');
  }

  /** The one with the fewest connections; one that does not speak only when all are like that. */
  #idlest(pool: WorkerPool): WorkerProcess | undefined {
    const workers = pool.workers();
    const speaking = workers.filter(({ quiet }) => !quiet);
    const load = (worker: WorkerProcess) => this.#connections.of(worker).length;
    return (speaking.length > 0 ? speaking : workers).sort((a, b) => load(a) - load(b))[0];
  }
}
