import type { BackupRecord } from '@sendense/catalog';
import { SendenseError } from '@sendense/core';
import { EventLog } from '../runs/events.js';
import type {
  BackupHappening,
  BackupPreview,
  BackupProgress,
  BackupRequest,
  BackupRuns,
  BackupRunsDependencies,
  PortDecision,
  PortLease,
  PortView,
  QueuedBackup,
  RunningBackup,
} from '../runs/index.js';

/** Backup runs on the real catalogue that move no byte: the test decides when they end. */
export class FakeRuns implements BackupRuns {
  readonly logs = new Map<string, EventLog>();
  readonly leased: PortLease[] = [];
  readonly connected: string[] = [];
  #dependencies: BackupRunsDependencies | undefined;
  #queued: QueuedBackup[] = [];
  disposed = false;
  /** Thrown by the next start. */
  refuse: SendenseError | undefined;
  queueNext = false;

  attach = async (dependencies: BackupRunsDependencies): Promise<BackupRuns> => {
    this.#dependencies = dependencies;
    return this;
  };

  async start(request: BackupRequest): Promise<BackupRecord> {
    if (this.refuse) throw this.refuse;
    await this.#needs.repositories.usable(request.repositoryId);
    const { catalog } = this.#needs;
    const vm = await catalog.vms.get(request.contextId);
    const { id, nodeName } = await catalog.backups.begin({
      ...request,
      disks: vm.disks.map(({ diskId, unsupportedReason }) => ({
        diskId,
        backupType: 'full',
        reason: unsupportedReason ?? 'first_backup',
        skipped: unsupportedReason !== undefined,
      })),
    });
    this.logs.set(id, new EventLog());
    if (this.queueNext) {
      this.#queued = [{ jobId: id, position: 1, waitingFor: '2 NBD ports', since: new Date() }];
      return catalog.backups.get(id);
    }
    await catalog.backups.changeState(id, { state: 'preparing' });
    for (const disk of vm.disks.filter(({ unsupportedReason }) => unsupportedReason === undefined)) {
      const target = {
        qcow2Path: `/srv/${vm.contextId}/disk-${disk.diskNumber}/x.qcow2`,
        nbdPort: 10_100 + disk.diskNumber,
        nbdExportName: `${vm.name}-disk${disk.diskNumber}`,
      };
      await catalog.backups.changeDisk(id, disk.diskKey, { status: 'preparing', ...target });
      await catalog.backups.changeDisk(id, disk.diskKey, { status: 'qemu_started', qemuNbdPid: 4711 });
      this.leased.push({ port: target.nbdPort, jobId: id, nodeName });
    }
    await catalog.backups.changeState(id, { state: 'running' });
    this.emit(id, { type: 'state', state: 'running' });
    return catalog.backups.get(id);
  }

  async plan(request: BackupRequest): Promise<BackupPreview> {
    const vm = await this.#needs.catalog.vms.get(request.contextId);
    return {
      contextId: vm.contextId,
      vmName: vm.name,
      repositoryId: request.repositoryId,
      type: request.type,
      disks: vm.disks
        .filter(({ unsupportedReason }) => unsupportedReason === undefined)
        .map((disk) => ({
          diskId: disk.diskId,
          number: disk.diskNumber,
          key: disk.diskKey,
          label: disk.label,
          backingUuid: disk.backingUuid,
          capacityBytes: disk.capacityBytes,
          reason: 'first_backup' as const,
          expectedBytes: disk.capacityBytes,
          type: 'full' as const,
        })),
      skippedDisks: [],
      expectedBytes: 5,
      ports: vm.disks.length,
      availableBytes: 7,
      portsFree: 3,
      spaceNeededBytes: 6,
      retention: { remove: ['backup-of-long-ago'], mergeBytes: 4 },
    };
  }

  async cancel(backupId: string, reason: string): Promise<BackupRecord> {
    const { backups } = this.#needs.catalog;
    await backups.changeState(backupId, { state: 'cancelling', cancelReason: reason });
    return backups.get(backupId);
  }

  emit(backupId: string, happening: BackupHappening): void {
    this.logs.get(backupId)?.push(happening);
  }

  async fail(backupId: string, error: SendenseError): Promise<void> {
    const { code, message, context } = error;
    await this.#needs.catalog.backups.changeState(backupId, {
      state: 'failed',
      error: { code, message, context },
    });
    this.emit(backupId, { type: 'state', state: 'failed', error: { code, message, context } });
  }

  events(backupId: string, afterSequence: number, signal?: AbortSignal) {
    const log = this.logs.get(backupId);
    if (!log) throw new SendenseError('job_not_found', `there is no backup ${backupId}`);
    return log.after(afterSequence, signal);
  }

  progress(): BackupProgress | undefined {
    return undefined;
  }

  leases(): PortView {
    const first = 10_100;
    return { first, last: 10_200, leased: this.leased, taken: [], free: 101 - this.leased.length };
  }

  async drain(): Promise<void> {}

  running(): RunningBackup[] {
    return [];
  }

  queue(): QueuedBackup[] {
    return this.#queued;
  }

  mayOpen({ nodeName, port }: { nodeName: string; port: number }): PortDecision {
    const lease = this.leased.find((candidate) => candidate.port === port && candidate.nodeName === nodeName);
    return lease ? { allowed: true, jobId: lease.jobId } : { allowed: false, reason: 'not leased' };
  }

  mayOpenLane(nodeName: string, jobId: string): boolean {
    return this.leased.some((lease) => lease.jobId === jobId && lease.nodeName === nodeName);
  }

  nodeConnected(nodeName: string): void {
    this.connected.push(nodeName);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.disposed = true;
  }

  get #needs(): BackupRunsDependencies {
    if (!this.#dependencies) throw new Error('the hub has not started');
    return this.#dependencies;
  }
}
