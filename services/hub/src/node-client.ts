import { credentials, status, type MethodDefinition, type ServiceError } from '@grpc/grpc-js';
import {
  fromServiceError,
  NodeServiceClient,
  NodeServiceService,
  type CancelJobResponse,
  type ChangeTracking,
  type CheckVCenterResponse,
  type GetNodeResponse,
  type JobEvent,
  type JobSummary,
  type RunBackupRequest,
  type SweepSnapshotsResponse,
  type VCenterConnection,
  type VirtualMachine,
} from '@sendense/contracts';
import { SendenseError, throwIfAborted } from '@sendense/core';

/** What the hub asks of one node. Every call rejects with the node's own error, `node_offline`, `node_lost` or `timeout`. */
export interface NodeClient {
  readonly nodeName: string;
  getNode(): Promise<GetNodeResponse>;
  checkVCenter(vcenter: VCenterConnection): Promise<CheckVCenterResponse>;
  listVirtualMachines(
    vcenter: VCenterConnection,
    filter?: { readonly moref?: string; readonly instanceUuid?: string },
  ): Promise<VirtualMachine[]>;
  /** Turns changed block tracking on and starts it, with a stun of the VM, unless it runs already. */
  enableChangeTracking(
    vcenter: VCenterConnection,
    vm: { readonly moref: string; readonly instanceUuid: string; readonly name: string },
  ): Promise<ChangeTracking>;
  /** Ending the iteration, or aborting, lets go of the stream and not of the job: see {@link cancelJob}. */
  runBackup(request: RunBackupRequest, signal?: AbortSignal): AsyncIterable<JobEvent>;
  /** The events with a higher number than `afterSequence`, until the job ends. */
  watchJob(jobId: string, afterSequence: bigint, signal?: AbortSignal): AsyncIterable<JobEvent>;
  cancelJob(jobId: string, reason: string): Promise<CancelJobResponse>;
  /** The bytes of the disk's `.hashes` file. */
  readBlockHashes(jobId: string, diskKey: number, signal?: AbortSignal): AsyncIterable<Buffer>;
  forgetJob(jobId: string): Promise<void>;
  listJobs(): Promise<JobSummary[]>;
  sweepSnapshots(vcenter: VCenterConnection, vmMoref?: string): Promise<SweepSnapshotsResponse>;
}

/** Where nodes are reached: the part of the tunnel server that calls need. */
export interface NodeReach {
  isConnected(nodeName: string): boolean;
  /** The unix socket that leads to the node's gRPC server. */
  socketPath(nodeName: string): string;
}

/**
 * How long each kind of call may take, in ms. Those that talk to a vCenter wait for it; the node has limits of its own. A
 * stun takes seconds, and somebody waits for the answer: what takes longer is left to the next backup.
 */
const DEADLINE_MS = { ready: 5_000, node: 10_000, vcenter: 60_000, stun: 90_000, sweep: 600_000 } as const;

/** An inventory of some ten thousand VMs; gRPC's own limit (4 MiB) is reached at a few thousand. */
const MAX_MESSAGE_BYTES = 128 * 1024 * 1024;

/** One gRPC connection per node, opened at its first call and kept: it survives the node's reconnects. */
export class NodeConnections implements Disposable {
  readonly #open = new Map<string, NodeServiceClient>();

  constructor(private readonly reach: NodeReach) {}

  client(nodeName: string): NodeClient {
    return new ConnectedNode(nodeName, () => this.#connect(nodeName));
  }

  [Symbol.dispose](): void {
    for (const client of this.#open.values()) client.close();
    this.#open.clear();
  }

  /** @throws `node_offline` at once when the node has no control connection, or when it does not answer in time */
  async #connect(nodeName: string): Promise<NodeServiceClient> {
    if (!this.reach.isConnected(nodeName)) throw offline(nodeName, 'it is not connected to this hub');
    const client = this.#open.get(nodeName) ?? newClient(this.reach.socketPath(nodeName));
    this.#open.set(nodeName, client);
    await new Promise<void>((resolve, reject) => {
      client.waitForReady(Date.now() + DEADLINE_MS.ready, (error) => {
        if (error) reject(offline(nodeName, 'its gRPC server does not answer through the tunnel', error));
        else resolve();
      });
    });
    return client;
  }
}

function newClient(socketPath: string): NodeServiceClient {
  return new NodeServiceClient(`unix:${socketPath}`, credentials.createInsecure(), {
    'grpc.max_receive_message_length': MAX_MESSAGE_BYTES,
    // The socket comes and goes with the node's connection; retrying a local socket costs nothing.
    'grpc.initial_reconnect_backoff_ms': 100,
    'grpc.min_reconnect_backoff_ms': 100,
    'grpc.max_reconnect_backoff_ms': 500,
    'grpc.enable_http_proxy': 0,
    'grpc.use_local_subchannel_pool': 1,
  });
}

function offline(nodeName: string, why: string, cause?: unknown): SendenseError {
  return new SendenseError(
    'node_offline',
    `node ${nodeName} is offline: ${why}. Check that sendense-node runs there, and run 'sendense-node preflight' on it`,
    { context: { node_name: nodeName }, retryable: true, cause },
  );
}

class ConnectedNode implements NodeClient {
  constructor(
    readonly nodeName: string,
    private readonly connect: () => Promise<NodeServiceClient>,
  ) {}

  getNode(): Promise<GetNodeResponse> {
    return this.#unary(NodeServiceService.getNode, {}, DEADLINE_MS.node);
  }

  checkVCenter(vcenter: VCenterConnection): Promise<CheckVCenterResponse> {
    return this.#unary(NodeServiceService.checkVCenter, { vcenter }, DEADLINE_MS.vcenter);
  }

  async listVirtualMachines(
    vcenter: VCenterConnection,
    { moref = '', instanceUuid = '' }: { moref?: string; instanceUuid?: string } = {},
  ): Promise<VirtualMachine[]> {
    const request = { vcenter, moref, instanceUuid };
    const answer = await this.#unary(NodeServiceService.listVirtualMachines, request, DEADLINE_MS.vcenter);
    return answer.virtualMachines;
  }

  async enableChangeTracking(
    vcenter: VCenterConnection,
    {
      moref: vmMoref,
      instanceUuid: vmInstanceUuid,
      name: vmName,
    }: Parameters<NodeClient['enableChangeTracking']>[1],
  ): Promise<ChangeTracking> {
    const request = { vcenter, vmMoref, vmInstanceUuid, vmName };
    const method = NodeServiceService.enableChangeTracking;
    const { changeTracking } = await this.#unary(method, request, DEADLINE_MS.stun);
    if (changeTracking) return changeTracking;
    throw new SendenseError('internal', `${this.#what(method)}: an empty answer`);
  }

  async *runBackup(request: RunBackupRequest, signal?: AbortSignal): AsyncIterable<JobEvent> {
    for await (const { event } of this.#stream(NodeServiceService.runBackup, request, signal))
      if (event) yield event;
  }

  async *watchJob(jobId: string, afterSequence: bigint, signal?: AbortSignal): AsyncIterable<JobEvent> {
    const request = { jobId, afterSequence };
    for await (const { event } of this.#stream(NodeServiceService.watchJob, request, signal))
      if (event) yield event;
  }

  cancelJob(jobId: string, reason: string): Promise<CancelJobResponse> {
    return this.#unary(NodeServiceService.cancelJob, { jobId, reason }, DEADLINE_MS.node);
  }

  async *readBlockHashes(jobId: string, diskKey: number, signal?: AbortSignal): AsyncIterable<Buffer> {
    const request = { jobId, diskKey };
    for await (const { chunk } of this.#stream(NodeServiceService.readBlockHashes, request, signal))
      yield chunk;
  }

  async forgetJob(jobId: string): Promise<void> {
    await this.#unary(NodeServiceService.forgetJob, { jobId }, DEADLINE_MS.node);
  }

  async listJobs(): Promise<JobSummary[]> {
    return (await this.#unary(NodeServiceService.listJobs, {}, DEADLINE_MS.node)).jobs;
  }

  sweepSnapshots(vcenter: VCenterConnection, vmMoref = ''): Promise<SweepSnapshotsResponse> {
    return this.#unary(NodeServiceService.sweepSnapshots, { vcenter, vmMoref }, DEADLINE_MS.sweep);
  }

  async #unary<Request, Response>(
    method: MethodDefinition<Request, Response>,
    request: Request,
    timeoutMs: number,
  ): Promise<Response> {
    const client = await this.connect();
    return new Promise((resolve, reject) => {
      const { path, requestSerialize, responseDeserialize } = method;
      const options = { deadline: Date.now() + timeoutMs };
      client.makeUnaryRequest(
        path,
        requestSerialize,
        responseDeserialize,
        request,
        options,
        (error, answer) => {
          if (error) reject(this.#failure(error, method));
          else if (answer === undefined)
            reject(new SendenseError('internal', `${this.#what(method)}: an empty answer`));
          else resolve(answer);
        },
      );
    });
  }

  async *#stream<Request, Response>(
    method: MethodDefinition<Request, Response>,
    request: Request,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<Response> {
    throwIfAborted(signal);
    const client = await this.connect();
    const { path, requestSerialize, responseDeserialize } = method;
    const call = client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, request);
    // A cancelled call still emits an error, when nobody reads any more.
    call.on('error', () => undefined);
    const cancel = () => call.cancel();
    signal?.addEventListener('abort', cancel, { once: true });
    try {
      for await (const message of call) {
        throwIfAborted(signal);
        yield message as Response;
      }
    } catch (error) {
      throwIfAborted(signal);
      throw isServiceError(error) ? this.#failure(error, method) : error;
    } finally {
      signal?.removeEventListener('abort', cancel);
      cancel();
    }
  }

  /** A call that is cancelled from outside, though nobody here did it, is one whose connection was lost. */
  #failure(error: ServiceError, method: { readonly path: string }): SendenseError {
    const failure = fromServiceError(error, this.#what(method));
    if (error.code !== status.CANCELLED || failure.cause !== error) return failure;
    const message = `${this.#what(method)}: the connection to the node was lost`;
    return new SendenseError('node_lost', message, { cause: error, retryable: true });
  }

  #what(method: { readonly path: string }): string {
    return `${method.path.slice(method.path.lastIndexOf('/') + 1)} on node ${this.nodeName}`;
  }
}

function isServiceError(error: unknown): error is ServiceError {
  return typeof error === 'object' && error !== null && 'details' in error && 'metadata' in error;
}
