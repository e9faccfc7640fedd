import { createReadStream, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  Metadata,
  Server,
  ServerCredentials,
  type ServerUnaryCall,
  type ServerWritableStream,
  type sendUnaryData,
} from '@grpc/grpc-js';
import {
  NodeServiceService,
  toStatus,
  type JobEvent,
  type NodeServiceServer,
  type RunBackupRequest,
  type SweepSnapshotsRequest,
  type SweepSnapshotsResponse,
} from '@sendense/contracts';
import { SendenseError } from '@sendense/core';
import { FakeJob, type JobScript, type Phase } from './fake-job.js';
import { FakeVm, type FakeDiskSpec } from './fake-vm.js';

/** A phase at which jobs wait until they are released. */
export interface Hold {
  /** Resolves when the first job has come there. */
  readonly reached: Promise<void>;
  release(): void;
}

/**
 * The node of a hub under test: real gRPC on a unix socket and real NBD to the leased ports, everything else made up. It
 * can be cut off, and it can lose its jobs as a node that was restarted.
 */
export class FakeNode implements AsyncDisposable, JobScript {
  readonly vms: FakeVm[] = [];
  readonly jobs = new Map<string, FakeJob>();
  /** Jobs that were ever started. */
  readonly started: RunBackupRequest[] = [];
  readonly forgotten: string[] = [];
  /** Passwords that were sent along. */
  readonly passwords = new Set<string>();
  connected = false;
  /** Thrown by the next inventory calls. */
  inventoryError: SendenseError | undefined;
  /** Calls that are taken and never answered. */
  readonly silent = new Set<keyof NodeServiceServer>();
  readonly #folder = mkdtempSync(join(tmpdir(), 'sdf-'));
  readonly #holds = new Map<Phase, { reached: () => void; released: Promise<void> }>();
  readonly #failures = new Map<Phase, SendenseError>();
  #server: Server | undefined;

  constructor(readonly name = 'berlin') {}

  static async start(name?: string): Promise<FakeNode> {
    const node = new FakeNode(name);
    await node.connect();
    return node;
  }

  get socketPath(): string {
    return join(this.#folder, 'node.sock');
  }

  addVm(name: string, disks: readonly FakeDiskSpec[]): FakeVm {
    const vm = new FakeVm(`vm-${this.vms.length + 1}`, name, disks);
    for (const disk of vm.disks) disk.fill(0, Math.min(disk.sizeBytes, 1_500_000), `${name} ${disk.key}`);
    this.vms.push(vm);
    return vm;
  }

  async connect(): Promise<void> {
    const server = new Server();
    server.addService(NodeServiceService, this.#unlessSilent(this.#service()));
    await new Promise<void>((resolve, reject) =>
      server.bindAsync(`unix:${this.socketPath}`, ServerCredentials.createInsecure(), (error) =>
        error ? reject(error) : resolve(),
      ),
    );
    this.#server = server;
    this.connected = true;
  }

  /** The tunnel is gone; the jobs go on. */
  cut(): void {
    this.connected = false;
    this.#server?.forceShutdown();
    this.#server = undefined;
  }

  /** The node's process dies and comes back: it knows no job, and their snapshots are still there. */
  loseJobs(): void {
    for (const job of this.jobs.values()) job.stop.abort(new Error('the node died'));
    this.jobs.clear();
  }

  hold(phase: Phase): Hold {
    const reached = Promise.withResolvers<void>();
    const released = Promise.withResolvers<void>();
    this.#holds.set(phase, { reached: reached.resolve, released: released.promise });
    return {
      reached: reached.promise,
      release: () => {
        this.#holds.delete(phase);
        released.resolve();
      },
    };
  }

  failAt(phase: Phase, error: SendenseError | undefined): void {
    if (error) this.#failures.set(phase, error);
    else this.#failures.delete(phase);
  }

  async at(phase: Phase, signal: AbortSignal): Promise<void> {
    const failure = this.#failures.get(phase);
    if (failure) throw failure;
    const hold = this.#holds.get(phase);
    if (!hold) return;
    hold.reached();
    const aborted = Promise.withResolvers<void>();
    const onAbort = () => aborted.reject(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      if (signal.aborted) throw signal.reason;
      await Promise.race([hold.released, aborted.promise]);
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }

  get snapshotsLeft(): number {
    return this.vms.reduce((sum, vm) => sum + vm.snapshots.length, 0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cut();
    this.loseJobs();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #service(): NodeServiceServer {
    return {
      listVirtualMachines: unary(({ vcenter, instanceUuid }) => {
        if (vcenter) this.passwords.add(vcenter.password);
        if (this.inventoryError) throw this.inventoryError;
        const found = this.vms.filter((vm) => instanceUuid === '' || vm.instanceUuid === instanceUuid);
        return { virtualMachines: found.map((vm) => vm.toMessage()) };
      }),
      runBackup: stream((request, signal) => this.#runBackup(request).watch(0n, signal)),
      watchJob: stream(({ jobId, afterSequence }, signal) => this.#job(jobId).watch(afterSequence, signal)),
      cancelJob: unary(({ jobId, reason }) => {
        const job = this.#job(jobId);
        const wasRunning = job.state === 'running';
        job.stop.abort(new SendenseError('cancelled', reason));
        return { wasRunning };
      }),
      readBlockHashes: (call) => void this.#readBlockHashes(call),
      forgetJob: unary(({ jobId }) => {
        if (this.jobs.get(jobId)?.state === 'running')
          throw new SendenseError('conflict', 'the job is still running');
        this.jobs.delete(jobId);
        this.forgotten.push(jobId);
        return {};
      }),
      listJobs: unary(() => ({
        jobs: [...this.jobs.values()].map((job) => ({
          jobId: job.id,
          state: job.state,
          vmName: job.vm.name,
          lastSequence: BigInt(job.events.length),
          startedAt: new Date(),
        })),
      })),
      sweepSnapshots: unary((request) => this.#sweep(request)),
    } as Partial<NodeServiceServer> as NodeServiceServer;
  }

  #unlessSilent(service: NodeServiceServer): NodeServiceServer {
    const handlers = Object.entries(service).map(([name, handle]) => [
      name,
      (...args: unknown[]) => (this.silent.has(name) ? undefined : Reflect.apply(handle, undefined, args)),
    ]);
    return Object.fromEntries(handlers) as NodeServiceServer;
  }

  #runBackup(request: RunBackupRequest): FakeJob {
    const known = this.jobs.get(request.jobId);
    if (known) return known;
    const vm = this.vms.find(({ moref }) => moref === request.vmMoref);
    if (!vm) throw new SendenseError('vm_not_found', `there is no ${request.vmMoref}`);
    this.started.push(request);
    const job = new FakeJob(request, vm, this.#folder, this);
    this.jobs.set(job.id, job);
    return job;
  }

  #job(jobId: string): FakeJob {
    const job = this.jobs.get(jobId);
    if (!job) throw new SendenseError('job_not_found', `this node has no job ${jobId}`);
    return job;
  }

  #sweep({ vmMoref }: SweepSnapshotsRequest): SweepSnapshotsResponse {
    const failure = this.#failures.get('removing');
    const removed: SweepSnapshotsResponse['removed'] = [];
    const failed: SweepSnapshotsResponse['failed'] = [];
    for (const vm of this.vms.filter(({ moref }) => vmMoref === '' || moref === vmMoref)) {
      for (const snapshot of vm.snapshots.slice()) {
        if (this.jobs.get(snapshot.jobId)?.state === 'running') continue;
        const swept = { vmMoref: vm.moref, snapshotMoref: snapshot.moref, name: '', error: '' };
        if (failure) {
          failed.push({ ...swept, error: failure.message });
          continue;
        }
        vm.snapshots.splice(vm.snapshots.indexOf(snapshot), 1);
        removed.push(swept);
      }
    }
    return { removed, failed };
  }

  async #readBlockHashes(
    call: ServerWritableStream<{ jobId: string; diskKey: number }, { chunk: Buffer }>,
  ): Promise<void> {
    try {
      const { jobId, diskKey } = call.request;
      const path = this.#job(jobId).hashesPath(diskKey);
      const gone = new AbortController();
      call.on('cancelled', () => gone.abort(new Error('cancelled')));
      await this.at('hashes', gone.signal);
      for await (const chunk of createReadStream(path, { highWaterMark: 1000 })) call.write({ chunk });
      call.end();
    } catch (error) {
      call.emit('error', toStatus(error));
    }
  }
}

function unary<Request, Response>(handle: (request: Request) => Response) {
  return ({ request }: ServerUnaryCall<Request, Response>, callback: sendUnaryData<Response>) => {
    try {
      callback(null, handle(request));
    } catch (error) {
      callback(toStatus(error));
    }
  };
}

function stream<Request>(handle: (request: Request, signal: AbortSignal) => AsyncIterable<JobEvent>) {
  return (call: ServerWritableStream<Request, { event: JobEvent | undefined }>) => {
    const gone = new AbortController();
    call.on('cancelled', () => gone.abort());
    call.sendMetadata(new Metadata());
    void (async () => {
      try {
        for await (const event of handle(call.request, gone.signal)) call.write({ event });
        call.end();
      } catch (error) {
        call.emit('error', toStatus(error));
      }
    })();
  };
}
