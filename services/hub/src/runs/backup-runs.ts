import type { BackupRecord, VmRecord } from '@sendense/catalog';
import { SendenseError, toSendenseError } from '@sendense/core';
import { delay } from '@sendense/runtime';
import type { EventLog } from './events.js';
import { planKnown } from './planning.js';
import type { PortPool } from './ports.js';
import { previewBackup } from './preview.js';
import { backupDisks, runBackup, type RunPorts } from './run.js';
import { Run } from './run-state.js';
import type {
  BackupEvent,
  BackupPreview,
  BackupProgress,
  BackupRequest,
  BackupRuns,
  PortDecision,
  PortView,
  QueuedBackup,
  RunningBackup,
} from './types.js';

/** Events of so many ended backups are kept for those who follow them to the end. */
const KEPT_LOGS = 100;

export interface ActiveBackupRunsOptions extends RunPorts {
  readonly pool: PortPool;
}

/** See {@link BackupRuns}. */
export class ActiveBackupRuns implements BackupRuns {
  readonly #active = new Map<string, Run>();
  /** Of the active ones, and of those that still tidy up. */
  readonly #executions = new Set<Promise<void>>();
  readonly #endedLogs = new Map<string, EventLog>();
  #closed = false;

  constructor(private readonly ports: ActiveBackupRunsOptions) {}

  async start(request: BackupRequest): Promise<BackupRecord> {
    const { catalog, queue, timing } = this.ports;
    const begunMs = performance.now();
    this.#requireOpen();
    const vm = await catalog.vms.get(request.contextId);
    queue.requirePossible({ ports: backupDisks(vm).length, jobId: '' });
    const run = await Run.begin(this.ports, request, await planKnown(catalog, request, vm));
    this.#active.set(run.id, run);
    const execution = this.#execute(run, vm).finally(() => this.#executions.delete(execution));
    this.#executions.add(execution);
    await answerWithin(run.answered, timing.answerMs - (performance.now() - begunMs));
    return catalog.backups.get(run.id);
  }

  async plan(request: BackupRequest): Promise<BackupPreview> {
    this.#requireOpen();
    return previewBackup(this.ports, request);
  }

  async cancel(backupId: string, reason: string): Promise<BackupRecord> {
    await this.#active.get(backupId)?.cancel(reason);
    return this.ports.catalog.backups.get(backupId);
  }

  async *events(backupId: string, afterSequence: number, signal?: AbortSignal): AsyncGenerator<BackupEvent> {
    const log = this.#active.get(backupId)?.events ?? this.#endedLogs.get(backupId);
    if (log) yield* log.after(afterSequence, signal);
    else yield await this.#recordedState(backupId, afterSequence);
  }

  progress(backupId: string): BackupProgress | undefined {
    return this.#active.get(backupId)?.progress?.read();
  }

  leases(): PortView {
    return this.ports.pool.view();
  }

  running(): RunningBackup[] {
    return [...this.#active.values()].map((run) => ({
      jobId: run.id,
      contextId: run.contextId,
      vmName: run.vmName,
      nodeName: run.nodeName,
      state: run.state,
      qemuNbdPids: [...run.qemuNbdPids.values()],
    }));
  }

  /** Those that wait for their chain queue behind all others once it is free. */
  queue(): QueuedBackup[] {
    const queued = this.ports.queue.view();
    for (const { id: jobId, waitsFor } of this.#active.values())
      if (waitsFor)
        queued.push({ jobId, position: queued.length + 1, waitingFor: waitsFor.what, since: waitsFor.since });
    return queued;
  }

  mayOpen({ nodeName, jobId, host, port }: Parameters<BackupRuns['mayOpen']>[0]): PortDecision {
    const refuse = (reason: string) => ({ allowed: false, reason }) as const;
    // Not `localhost` either, which may mean ::1, where qemu-nbd does not listen and somebody else may.
    if (host !== '127.0.0.1') return refuse(`${host} is not 127.0.0.1: nothing else is reachable`);
    const lease = this.ports.pool.leaseOf(port);
    if (!lease) return refuse(`port ${port} is not leased to a running backup`);
    if (lease.nodeName !== nodeName) return refuse(`port ${port} is leased to another node`);
    if (jobId !== undefined && lease.jobId !== jobId) return refuse(`port ${port} is leased to another job`);
    return { allowed: true, jobId: lease.jobId };
  }

  mayOpenLane(nodeName: string, jobId: string): boolean {
    return this.ports.pool
      .view()
      .leased.some((lease) => lease.jobId === jobId && lease.nodeName === nodeName);
  }

  nodeConnected(nodeName: string): void {
    this.ports.reaper.nodeConnected(nodeName);
  }

  async drain(): Promise<void> {
    this.#closed = true;
    for (const run of this.#active.values()) if (run.state === 'queued') run.stop(stopped('waited'));
    await Promise.all(this.#executions);
  }

  /** Running backups are stopped, those that are being published are finished. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    for (const run of this.#active.values()) run.stop(stopped('ran'));
    await Promise.all(this.#executions);
    this.ports.queue[Symbol.dispose]();
    await this.ports.reaper[Symbol.asyncDispose]();
  }

  #requireOpen(): void {
    if (!this.#closed) return;
    throw new SendenseError('shutting_down', 'the hub is stopping: start the backup again later', {
      retryable: true,
    });
  }

  /** Never rejects: how it ends is in the record. */
  async #execute(run: Run, vm: VmRecord): Promise<void> {
    const { reaper } = this.ports;
    try {
      await runBackup(run, vm, this.ports);
      run.completed();
    } catch (error) {
      await run.failed(toSendenseError(error));
    }
    this.#active.delete(run.id);
    this.#remember(run);
    if (run.state === 'completed') {
      const args = { node_name: run.nodeName, job_id: run.id };
      await reaper.attempt({ what: 'forget_job', args }, run.id);
      await this.ports.onCompleted?.(run.contextId, run.request.repositoryId);
    }
    await this.#audit(run);
  }

  #remember(run: Run): void {
    this.#endedLogs.set(run.id, run.events);
    const [oldest] = this.#endedLogs.keys();
    if (this.#endedLogs.size > KEPT_LOGS && oldest !== undefined) this.#endedLogs.delete(oldest);
  }

  async #audit({ id, state, vmName, log }: Run): Promise<void> {
    try {
      await this.ports.catalog.audit.append({
        action: 'backup.end',
        actor: 'hub',
        outcome: state === 'completed' ? 'ok' : 'failed',
        subjectType: 'backup',
        subjectId: id,
        detail: { state, vm_name: vmName },
      });
    } catch (error) {
      log.error({ error: toSendenseError(error).message }, 'the audit trail could not be written');
    }
  }

  /**
   * The one event of a backup of an earlier process. Numbers of that time mean nothing here, so it follows whatever the
   * subscriber has seen. @throws `job_not_found`
   */
  async #recordedState(backupId: string, afterSequence: number): Promise<BackupEvent> {
    const record = await this.ports.catalog.backups.get(backupId);
    return {
      sequence: afterSequence + 1,
      at: 'endedAt' in record ? record.endedAt : new Date(),
      type: 'state',
      state: record.state,
      ...(record.state === 'failed' ? { error: record.error } : {}),
    };
  }
}

function stopped(did: 'waited' | 'ran'): SendenseError {
  return new SendenseError(
    'shutting_down',
    `the hub was stopped while the backup ${did}: start the backup again`,
    {
      retryable: true,
    },
  );
}

/** Waits for the answer, but not longer than a caller should wait. @throws what the run failed with meanwhile */
async function answerWithin(answered: Promise<void>, ms: number): Promise<void> {
  const enough = new AbortController();
  try {
    await Promise.race([answered, delay(Math.max(0, ms), enough.signal)]);
  } finally {
    enough.abort();
  }
}
