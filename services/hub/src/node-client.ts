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
import { NODE_LIMITS, type NodeLimits } from './node-limits.js';

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

/** An inventory of some ten thousand VMs; gRPC's own limit (4 MiB) is reached at a few thousand. */
const MAX_MESSAGE_BYTES = 128 * 1024 * 1024;

/** One gRPC connection per node, opened at its first call and kept: it survives the node's reconnects. */
export class NodeConnections implements Disposable {
  readonly #open = new Map<string, NodeServiceClient>();

  readonly #limits: NodeLimits;

  /** @param limits default to {@link NODE_LIMITS} */
  constructor(
    private readonly reach: NodeReach,
    limits: Partial<NodeLimits> = {},
  ) {
    this.#limits = { ...NODE_LIMITS, ...limits };
  }

  client(nodeName: string): NodeClient {
    return new ConnectedNode(nodeName, this.#limits, () => this.#connect(nodeName));
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
      const { ready } = this.#limits;
      client.waitForReady(Date.now() + ready, (error) => {
        const why = `its gRPC server did not answer through the tunnel within ${seconds(ready)}`;
        if (error) reject(offline(nodeName, why, error));
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
    private readonly limits: NodeLimits,
    private readonly connect: () => Promise<NodeServiceClient>,
  ) {}

  getNode(): Promise<GetNodeResponse> {
    return this.#unary(NodeServiceService.getNode, {}, 'node');
  }

  checkVCenter(vcenter: VCenterConnection): Promise<CheckVCenterResponse> {
    return this.#unary(NodeServiceService.checkVCenter, { vcenter }, 'vcenter');
  }

  async listVirtualMachines(
    vcenter: VCenterConnection,
    { moref = '', instanceUuid = '' }: { moref?: string; instanceUuid?: string } = {},
  ): Promise<VirtualMachine[]> {
    const request = { vcenter, moref, instanceUuid };
    const answer = await this.#unary(NodeServiceService.listVirtualMachines, request, 'vcenter');
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
    const { changeTracking } = await this.#unary(method, request, 'stun');
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
    return this.#unary(NodeServiceService.cancelJob, { jobId, reason }, 'node');
  }

  async *readBlockHashes(jobId: string, diskKey: number, signal?: AbortSignal): AsyncIterable<Buffer> {
    const request = { jobId, diskKey };
    for await (const { chunk } of this.#stream(NodeServiceService.readBlockHashes, request, signal, 'part'))
      yield chunk;
  }

  async forgetJob(jobId: string): Promise<void> {
    await this.#unary(NodeServiceService.forgetJob, { jobId }, 'node');
  }

  async listJobs(): Promise<JobSummary[]> {
    return (await this.#unary(NodeServiceService.listJobs, {}, 'node')).jobs;
  }

  sweepSnapshots(vcenter: VCenterConnection, vmMoref = ''): Promise<SweepSnapshotsResponse> {
    return this.#unary(NodeServiceService.sweepSnapshots, { vcenter, vmMoref }, 'sweep');
  }

  async #unary<Request, Response>(
    method: MethodDefinition<Request, Response>,
    request: Request,
    limit: keyof NodeLimits,
  ): Promise<Response> {
    const client = await this.connect();
    return new Promise((resolve, reject) => {
      const { path, requestSerialize, responseDeserialize } = method;
      const options = { deadline: Date.now() + this.limits[limit] };
      client.makeUnaryRequest(
        path,
        requestSerialize,
        responseDeserialize,
        request,
        options,
        (error, answer) => {
          if (error) reject(this.#failure(error, method, limit));
          else if (answer === undefined)
            reject(new SendenseError('internal', `${this.#what(method)}: an empty answer`));
          else resolve(answer);
        },
      );
    });
  }

  /** @param between two messages; none where it is the node that waits for something */
  async *#stream<Request, Response>(
    method: MethodDefinition<Request, Response>,
    request: Request,
    signal: AbortSignal | undefined,
    between?: keyof NodeLimits,
  ): AsyncGenerator<Response> {
    throwIfAborted(signal);
    const client = await this.connect();
    const { path, requestSerialize, responseDeserialize } = method;
    const call = client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, request);
    // A cancelled call still emits an error, when nobody reads any more.
    call.on('error', () => undefined);
    const cancel = () => call.cancel();
    signal?.addEventListener('abort', cancel, { once: true });
    let waiting: NodeJS.Timeout | undefined;
    const wait = (limit?: keyof NodeLimits) => {
      clearTimeout(waiting);
      if (limit === undefined) return;
      waiting = setTimeout(() => call.destroy(this.#tooSlow(method, limit)), this.limits[limit]);
    };
    try {
      wait('begin');
      call.once('metadata', () => wait(between));
      for await (const message of call) {
        // Whoever reads may take their time.
        wait();
        throwIfAborted(signal);
        yield message as Response;
        wait(between);
      }
    } catch (error) {
      throwIfAborted(signal);
      throw isServiceError(error) ? this.#failure(error, method) : error;
    } finally {
      wait();
      signal?.removeEventListener('abort', cancel);
      cancel();
    }
  }

  /** A call that is cancelled from outside, though nobody here did it, is one whose connection was lost. */
  #failure(error: ServiceError, method: { readonly path: string }, limit?: keyof NodeLimits): SendenseError {
    const failure = fromServiceError(error, this.#what(method));
    if (failure.cause !== error) return failure;
    if (error.code === status.DEADLINE_EXCEEDED && limit) return this.#tooSlow(method, limit, error);
    if (error.code !== status.CANCELLED) return failure;
    const message = `${this.#what(method)}: the connection to the node was lost`;
    return new SendenseError('node_lost', message, { cause: error, retryable: true });
  }

  #tooSlow(method: { readonly path: string }, limit: keyof NodeLimits, cause?: unknown): SendenseError {
    const what = this.#what(method);
    const waits = ['vcenter', 'stun', 'sweep'].includes(limit) ? ', and at whether its vCenter answers' : '';
    return new SendenseError(
      'timeout',
      `${what}: no answer within ${seconds(this.limits[limit])}. Look at the log of sendense-node there${waits}; restart it if it hangs`,
      { context: { node_name: this.nodeName }, retryable: true, cause },
    );
  }

  #what(method: { readonly path: string }): string {
    return `${method.path.slice(method.path.lastIndexOf('/') + 1)} on node ${this.nodeName}`;
  }
}

function seconds(ms: number): string {
  return `${ms / 1000} s`;
}

function isServiceError(error: unknown): error is ServiceError {
  return typeof error === 'object' && error !== null && 'details' in error && 'metadata' in error;
}
