import type {
  BackupDiskChange,
  BackupRecord,
  Backups,
  DiskProgressChange,
  StoredError,
  VmRecord,
} from '@sendense/catalog';
import { printable, SendenseError, throwIfAborted, toSendenseError } from '@sendense/core';
import type { Logger } from '@sendense/runtime';
import type { BackupRunsDependencies } from './dependencies.js';
import { EventLog } from './events.js';
import { plannedDisks } from './planned-disks.js';
import { ProgressMeter } from './progress.js';
import type { BackupPlan, BackupRequest } from './types.js';

interface Waiting {
  readonly since: Date;
  for: string | undefined;
}

/** How often progress is written to the catalogue: often enough for somebody who looks after a crash. */
const RECORD_PROGRESS_MS = 2_000;

/**
 * One backup while it runs: its record, its events, and the signal that stops it. Whoever stops it first names the reason;
 * everything that follows from it is noise.
 */
export class Run {
  readonly id: string;
  readonly contextId: string;
  readonly repositoryId: string;
  /** As it was when the backup began: its paths and exports are made of it. */
  readonly vmName: string;
  readonly nodeName: string;
  readonly log: Logger;
  readonly events = new EventLog();
  /** By disk key. */
  readonly qemuNbdPids = new Map<number, number>();
  progress: ProgressMeter | undefined;

  readonly #stop = new AbortController();
  readonly #answer = Promise.withResolvers<void>();
  #state: BackupRecord['state'];
  #cancelReason: string | undefined;
  #committed = false;
  #ended = false;
  #changes: Promise<unknown> = Promise.resolve();
  #progressRecordedMs = 0;
  readonly #warned = new Set<string>();
  #waiting: Waiting | undefined;

  private constructor(
    private readonly catalog: BackupRunsDependencies['catalog'],
    readonly request: BackupRequest,
    record: BackupRecord,
    log: Logger,
  ) {
    this.id = record.id;
    this.contextId = record.contextId;
    this.repositoryId = record.repositoryId;
    this.vmName = record.vmName;
    this.nodeName = record.nodeName;
    this.log = log.child({ jobId: record.id });
    this.#state = record.state;
    this.events.push({ type: 'state', state: record.state });
    // Nobody may be waiting for it.
    this.#answer.promise.catch(() => undefined);
  }

  /** @throws `backup_already_running` · `vm_not_protected` · `repository_not_found` · `credentials_missing` */
  static async begin(
    { catalog, log }: Pick<BackupRunsDependencies, 'catalog' | 'log'>,
    request: BackupRequest,
    plan: Pick<BackupPlan, 'disks' | 'skippedDisks'>,
  ): Promise<Run> {
    const record = await catalog.backups.begin({ ...request, disks: plannedDisks(plan) });
    const run = new Run(catalog, request, record, log);
    run.log.info(
      { vmName: run.vmName, type: request.type, requestedBy: request.requestedBy },
      'backup begun',
    );
    return run;
  }

  get signal(): AbortSignal {
    return this.#stop.signal;
  }

  get state(): BackupRecord['state'] {
    return this.#state;
  }

  /** Settles when whoever started it should have an answer: it waits in the queue, its targets are up, or it failed. */
  get answered(): Promise<void> {
    return this.#answer.promise;
  }

  answer(): void {
    this.#answer.resolve();
  }

  /** Until it is disposed the backup is one that waits, though not in the queue; set `for` when it really does. */
  waiting(): Waiting & Disposable {
    const waiting = {
      since: new Date(),
      for: undefined,
      [Symbol.dispose]: () => (this.#waiting = undefined),
    };
    this.#waiting = waiting;
    return waiting;
  }

  /** What it waits for before it queues. */
  get waitsFor(): { readonly what: string; readonly since: Date } | undefined {
    const { for: what, since } = this.#waiting ?? {};
    return what === undefined || since === undefined ? undefined : { what, since };
  }

  /** Something went wrong: what runs is asked to end. Only the first reason counts. */
  stop(reason: SendenseError): void {
    if (this.#committed || this.signal.aborted) return;
    this.log.warn({ code: reason.code, error: reason.message }, 'backup stopped');
    this.#stop.abort(reason);
  }

  /** Somebody does not want it any more. Without effect once it is being published or has failed. */
  async cancel(reason: string): Promise<void> {
    if (this.#committed || this.signal.aborted) return;
    this.#cancelReason = reason;
    this.stop(new SendenseError('cancelled', `the backup was cancelled: ${reason}`));
    await this.#inOrder(async () => {
      if (this.#ended) return;
      await this.catalog.backups.changeState(this.id, { state: 'cancelling', cancelReason: reason });
      this.#show('cancelling');
    });
  }

  /** From here on nothing stops it: what is half published by a crash is finished at the next start. */
  commit(): void {
    throwIfAborted(this.signal);
    this.#committed = true;
  }

  async enter(state: 'preparing' | 'running' | 'sealing'): Promise<void> {
    await this.#inOrder(async () => {
      throwIfAborted(this.signal);
      if (this.#state === state) return;
      await this.catalog.backups.changeState(this.id, { state });
      this.#show(state);
    });
  }

  async replan(plan: BackupPlan): Promise<void> {
    throwIfAborted(this.signal);
    await this.catalog.backups.replan(this.id, plannedDisks(plan));
    this.progress = new ProgressMeter(plan.disks);
    for (const { key, label, reason } of plan.skippedDisks) {
      await this.warn('disk_skipped', `disk ${key} (${printable(label)}) is not backed up: it is ${reason}`, {
        disk_key: String(key),
        reason,
      });
    }
  }

  async disk(diskKey: number, status: BackupDiskChange): Promise<void> {
    await this.catalog.backups.changeDisk(this.id, diskKey, status);
    this.events.push({ type: 'disk', diskKey, status: status.status });
  }

  /** The node cannot use what changed block tracking says of a disk that was planned as an incremental. */
  async becomesFull(diskKey: number, full: { reason: string; detail: string }): Promise<void> {
    await this.catalog.backups.becomeFull(this.id, diskKey, full);
    this.events.push({ type: 'disk', diskKey, status: 'copying', full });
    this.log.warn({ diskKey, ...full }, 'disk is read in full instead of its changes only');
  }

  async changeTracking(found: VmRecord['changeTracking'] | undefined): Promise<void> {
    if (found) await this.catalog.vms.recordChangeTracking(this.contextId, found);
  }

  /** Shows how far it is, and records it now and then. */
  async progressed(lastEventSequence: number, final = false): Promise<void> {
    const progress = this.progress?.read();
    if (!progress) return;
    this.events.push({ type: 'progress', progress });
    if (!final && performance.now() - this.#progressRecordedMs < RECORD_PROGRESS_MS) return;
    this.#progressRecordedMs = performance.now();
    await this.catalog.backups.recordProgress(this.id, {
      lastEventSequence,
      disks: progress.disks.map(({ diskKey, bytesDone, bytesTotal }) => ({ diskKey, bytesDone, bytesTotal })),
    });
  }

  async snapshotCreated(snapshot: Parameters<Backups['recordSnapshot']>[1]): Promise<void> {
    await this.catalog.backups.recordSnapshot(this.id, snapshot);
    const { moref, quiesced } = snapshot;
    this.events.push({ type: 'snapshot_created', moref, quiesced });
  }

  async snapshotRemoved(moref: string): Promise<void> {
    await this.catalog.backups.recordSnapshotRemoved(this.id);
    this.events.push({ type: 'snapshot_removed', moref });
  }

  async copied(
    diskKey: number,
    { bytesRead, ...counts }: Omit<DiskProgressChange, 'diskKey'> & { readonly bytesRead: number },
  ): Promise<void> {
    await this.catalog.backups.recordProgress(this.id, {
      disks: [{ diskKey, bytesDone: bytesRead, bytesTotal: bytesRead, ...counts }],
    });
  }

  async warn(code: string, message: string, context: Readonly<Record<string, string>> = {}): Promise<void> {
    const warning = { code, message, context };
    // A backup that is planned again would say the same again.
    if (this.#warned.has(message)) return;
    this.#warned.add(message);
    this.log.warn({ code, ...context }, message);
    await this.catalog.backups.addWarning(this.id, warning);
    this.events.push({ type: 'warning', warning });
  }

  /** The catalogue has the restore point. */
  completed(): void {
    for (const diskKey of this.qemuNbdPids.keys())
      this.events.push({ type: 'disk', diskKey, status: 'completed' });
    this.#show('completed');
    this.#answer.resolve();
    this.log.info('backup completed');
  }

  /** Everything is released. Records the first reason, whatever came after it. Never throws. */
  async failed(error: SendenseError): Promise<void> {
    const reason = this.signal.reason instanceof SendenseError ? this.signal.reason : error;
    const cancelReason = reason.code === 'cancelled' ? this.#cancelReason : undefined;
    const stored = storedError(reason);
    try {
      await this.#inOrder(async () => {
        this.#ended = true;
        await this.catalog.backups.changeState(
          this.id,
          cancelReason === undefined
            ? { state: 'failed', error: stored }
            : { state: 'cancelled', cancelReason },
        );
      });
    } catch (failure) {
      // The next start finds the backup unfinished and ends it.
      this.log.error(
        { error: toSendenseError(failure).message },
        'the end of the backup could not be recorded',
      );
    }
    if (cancelReason === undefined) {
      this.log.error({ code: reason.code, error: reason.message, context: reason.context }, 'backup failed');
      this.#show('failed', stored);
    } else {
      this.log.info({ cancelReason }, 'backup cancelled');
      this.#show('cancelled');
    }
    this.#answer.reject(withBackupId(reason, this.id));
  }

  #show(state: BackupRecord['state'], error?: StoredError): void {
    this.#state = state;
    this.events.push({ type: 'state', state, ...(error ? { error } : {}) });
  }

  /** One change of state after another: cancelling may come at any moment. */
  #inOrder<T>(change: () => Promise<T>): Promise<T> {
    const result = this.#changes.then(change);
    this.#changes = result.catch(() => undefined);
    return result;
  }
}

export function storedError({ code, message, context }: SendenseError): StoredError {
  return { code, message, context };
}

function withBackupId(error: SendenseError, backupId: string): SendenseError {
  const { code, message, context, retryable } = error;
  return new SendenseError(code, message, {
    context: { ...context, backup_id: backupId },
    retryable,
    cause: error,
  });
}
