import type { VmRecord } from '@sendense/catalog';
import { DiskBackupType, type DiskTarget, type RunBackupRequest } from '@sendense/contracts';
import { toSendenseError, type ErrorCode, type SendenseError } from '@sendense/core';
import { delay } from '@sendense/runtime';
import type { NodeClient } from '../node-client.js';
import type { CbtAudit } from './cbt-audit.js';
import type { BackupRunsDependencies, RunTiming, UsableRepository } from './dependencies.js';
import { followJob, isOutOfReach } from './follow-job.js';
import { NodeOutcome, takeIn } from './node-events.js';
import { connectionOf } from './planning.js';
import type { Reaper } from './reaper.js';
import type { Run } from './run-state.js';
import { fullNow } from './space.js';
import { NBD_CONNECTIONS, type Target, type Targets } from './targets.js';

export interface NodeRunDependencies extends Pick<BackupRunsDependencies, 'catalog' | 'nodes' | 'config'> {
  readonly reaper: Reaper;
  readonly timing: RunTiming;
}

/**
 * Has the node take the snapshot and copy every disk to its target, and takes in what it tells on the way. When the run is
 * stopped, the node is asked to cancel, and its last word is waited for, but not for ever.
 *
 * @throws the reason why the run was stopped · what the node failed with · `node_lost`
 */
export async function backUpOnNode(
  run: Run,
  vm: VmRecord,
  targets: Targets,
  audit: CbtAudit,
  repository: UsableRepository,
  { catalog, nodes, config, reaper, timing }: NodeRunDependencies,
): Promise<NodeOutcome> {
  const vcenter = await connectionOf(catalog, run.contextId);
  const client = nodes.client(run.nodeName);
  await reaper.settleVm(run.contextId, run.signal);
  const outcome = new NodeOutcome();
  using cancellation = new Cancellation(run, client, timing.nodeCancelMs);
  try {
    const request: RunBackupRequest = {
      jobId: run.id,
      vcenter,
      vmMoref: vm.moref,
      vmInstanceUuid: vm.instanceUuid,
      vmName: vm.name,
      disks: targets.disks.map((target) => diskTarget(target, audit)),
      quiesce: run.request.quiesce,
      enableChangeTracking: true,
      parallelDisks: 0,
      rateLimitBytesPerSecond: BigInt(config.rateLimitBytesPerSecond),
    };
    const events = followJob(client, request, {
      nodeLostMs: timing.nodeLostMs,
      signal: cancellation.letGo,
      unwanted: run.signal,
      log: run.log,
    });
    for await (const event of events) await takeIn(event, { run, targets, outcome });
    run.signal.throwIfAborted();
    return outcome;
  } catch (thrown) {
    const failure = await explain(toSendenseError(thrown), run, repository);
    if (outcome.ended) await reaper.attempt({ what: 'forget_job', args: jobArgs(run) }, run.id);
    // It may still run there, or have left its snapshot.
    else
      await reaper.later({ what: 'settle_job', args: { ...jobArgs(run), ...vmArgs(vm) } }, run.id, failure);
    throw failure;
  } finally {
    // Only now: the node leaves the snapshots of running jobs alone.
    if (outcome.ended && outcome.snapshotLeft !== undefined) {
      await reaper.later(
        { what: 'sweep_snapshots', args: { ...jobArgs(run), ...vmArgs(vm) } },
        run.id,
        outcome.snapshotLeft,
      );
    }
  }
}

function jobArgs({ id, nodeName }: Run) {
  return { node_name: nodeName, job_id: id };
}

function vmArgs({ contextId, moref }: VmRecord) {
  return { context_id: contextId, vm_moref: moref };
}

function diskTarget({ plan, layout, qemu }: Target, audit: CbtAudit): DiskTarget {
  const incremental = plan.type === 'incremental';
  return {
    diskKey: plan.key,
    backingUuid: plan.backingUuid,
    capacityBytes: BigInt(plan.capacityBytes),
    type: incremental ? DiskBackupType.DISK_BACKUP_TYPE_INCREMENTAL : DiskBackupType.DISK_BACKUP_TYPE_FULL,
    previousChangeId: incremental ? plan.parent.changeId : '',
    nbdPort: qemu.port,
    nbdExportName: layout.exportName,
    targetHasBacking: incremental,
    nbdConnections: NBD_CONNECTIONS,
    // Tracking that was caught missing changes must not say what a full has to read.
    distrustChangeTracking: plan.reason === 'parent_suspect',
    auditBlocks: (audit.get(plan.key)?.blocks ?? []).map(BigInt),
  };
}

/** Once the run is stopped: asks the node to stop the job too, and gives its last word some time. */
class Cancellation implements Disposable {
  readonly #letGo = new AbortController();
  readonly #begin = () => void this.#cancel();
  #deadline: NodeJS.Timeout | undefined;

  constructor(
    private readonly run: Run,
    private readonly client: NodeClient,
    private readonly nodeCancelMs: number,
  ) {
    if (run.signal.aborted) this.#begin();
    else run.signal.addEventListener('abort', this.#begin, { once: true });
  }

  /** Aborts when the node's last word is waited for no longer. */
  get letGo(): AbortSignal {
    return this.#letGo.signal;
  }

  [Symbol.dispose](): void {
    this.run.signal.removeEventListener('abort', this.#begin);
    clearTimeout(this.#deadline);
    this.#letGo.abort();
  }

  /** Never rejects. */
  async #cancel(): Promise<void> {
    const reason = toSendenseError(this.run.signal.reason);
    this.#deadline = setTimeout(() => this.#letGo.abort(reason), this.nodeCancelMs);
    try {
      while (!(await this.#asked(reason.message))) await delay(500, this.letGo);
    } catch (error) {
      // It does not know the job: nothing more will come.
      this.run.log.debug({ error: toSendenseError(error).message }, 'the node could not be asked to cancel');
      this.#letGo.abort(reason);
    }
  }

  /** @returns false when the node is out of reach */
  async #asked(reason: string): Promise<boolean> {
    try {
      await this.client.cancelJob(this.run.id, reason);
      return true;
    } catch (error) {
      if (isOutOfReach(error)) return false;
      throw error;
    }
  }
}

/** What the node sees when a target fails under it. */
const TARGET_FAILURES: readonly ErrorCode[] = [
  'nbd_connection_lost',
  'nbd_write_failed',
  'nbd_refused',
  'nbd_protocol',
  'out_of_space',
  'tunnel_lost',
];
/** How much earlier the node may tell of a dead qemu-nbd than the system does here. */
const HINDSIGHT_MS = 1_000;

/** The node knows that it could not write; why is known here. */
async function explain(
  failure: SendenseError,
  run: Run,
  repository: UsableRepository,
): Promise<SendenseError> {
  if (run.signal.aborted || !TARGET_FAILURES.includes(failure.code)) return failure;
  try {
    await delay(HINDSIGHT_MS, run.signal);
  } catch (error) {
    return toSendenseError(error);
  }
  return (await fullNow(repository, failure)) ?? failure;
}
