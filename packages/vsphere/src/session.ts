import { throwIfAborted, type Extent } from '@sendense/core';
import { changedAreas } from './changed-areas.js';
import { enableChangeTracking } from './change-tracking.js';
import { listVirtualMachines } from './inventory.js';
import { createSnapshot } from './snapshot-creation.js';
import {
  consolidateIfNeeded,
  listSnapshots,
  readSnapshotDisks,
  removeSnapshot,
  TASK_TIMEOUTS_MS,
  type SnapshotContext,
} from './snapshots.js';
import { parseEndpoint } from './transport/endpoint.js';
import { SoapTransport } from './transport/soap-transport.js';
import { parsePin } from './transport/thumbprints.js';
import type {
  AboutVSphere,
  ChangedAreasRequest,
  ChangeTrackingOutcome,
  ConnectOptions,
  CreatedSnapshot,
  Snapshot,
  SnapshotDisk,
  SnapshotRequest,
  Thumbprints,
  VirtualMachine,
  VirtualMachineFilter,
  VSphereSession,
} from './types.js';
import { VimClient } from './vim/client.js';

const REQUEST_TIMEOUT_MS = 60_000;
const LOGOUT_TIMEOUT_MS = 5000;

/**
 * Logs in. The certificate is checked before anything is sent, and on every new connection of the session.
 * @throws `vcenter_unreachable` · `vcenter_protocol` · `vcenter_thumbprint_mismatch` · `vcenter_thumbprint_unconfirmed` ·
 *   `vcenter_login_failed` · `invalid_argument` (endpoint or thumbprint) · `cancelled`
 */
export async function connectVSphere(options: ConnectOptions): Promise<VSphereSession> {
  const { username, password, signal, requestTimeoutMs = REQUEST_TIMEOUT_MS } = options;
  throwIfAborted(signal);
  const pin = options.thumbprint ? parsePin(options.thumbprint) : undefined;
  const transport = new SoapTransport(parseEndpoint(options.endpoint), pin, requestTimeoutMs);
  try {
    const client = new VimClient(transport, { username, password }, requestTimeoutMs, options.log);
    await client.login(signal);
    return new Session(client, transport, options.taskTimeoutMs);
  } catch (error) {
    transport[Symbol.dispose]();
    throw error;
  }
}

class Session implements VSphereSession {
  readonly about: AboutVSphere;
  readonly thumbprints: Thumbprints;
  readonly #context: SnapshotContext;

  constructor(
    private readonly client: VimClient,
    private readonly transport: SoapTransport,
    taskTimeoutMs: number | undefined,
  ) {
    this.about = client.service.about;
    this.thumbprints = transport.thumbprints;
    this.#context = { client, timeoutMs: (kind) => taskTimeoutMs ?? TASK_TIMEOUTS_MS[kind] };
  }

  async listVirtualMachines(filter: VirtualMachineFilter = {}): Promise<VirtualMachine[]> {
    return listVirtualMachines(this.client, filter);
  }

  async snapshots(vmMoref: string): Promise<Snapshot[]> {
    return listSnapshots(this.client, vmMoref);
  }

  async enableChangeTracking(vmMoref: string, signal?: AbortSignal): Promise<ChangeTrackingOutcome> {
    return enableChangeTracking(this.#context, vmMoref, signal);
  }

  async createSnapshot(
    vmMoref: string,
    request: SnapshotRequest,
    signal?: AbortSignal,
  ): Promise<CreatedSnapshot> {
    return createSnapshot(this.#context, vmMoref, request, signal);
  }

  async snapshotDisks(snapshotMoref: string): Promise<SnapshotDisk[]> {
    return readSnapshotDisks(this.client, snapshotMoref);
  }

  async changedAreas(request: ChangedAreasRequest): Promise<Extent[]> {
    return changedAreas(this.client, request);
  }

  async removeSnapshot(snapshotMoref: string, signal?: AbortSignal): Promise<void> {
    await removeSnapshot(this.#context, snapshotMoref, signal);
  }

  async consolidateIfNeeded(vmMoref: string, signal?: AbortSignal): Promise<boolean> {
    return consolidateIfNeeded(this.#context, vmMoref, signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.client.logout(LOGOUT_TIMEOUT_MS);
    } finally {
      this.transport[Symbol.dispose]();
    }
  }
}
