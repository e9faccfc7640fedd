import type { RestorePointRecord, VmRecord } from '@sendense/catalog';
import type { ChainLock } from '../chains/locks.js';
import { planAudit } from './cbt-audit.js';
import type { BackupRunsDependencies, RunTiming, UsableRepository } from './dependencies.js';
import { backUpOnNode } from './node-run.js';
import { discover, planBackup } from './planning.js';
import type { BackupQueue, Demand, Place } from './queue.js';
import type { Reaper } from './reaper.js';
import type { Run } from './run-state.js';
import { seal, type Sealable } from './seal.js';
import { requireSpace, watchSpace } from './space.js';
import { openTargets } from './targets.js';
import type { BackupPlan } from './types.js';

export interface RunPorts extends BackupRunsDependencies {
  readonly queue: BackupQueue;
  readonly reaper: Reaper;
  readonly timing: RunTiming;
}

/**
 * One backup from its beginning to its restore point. What it acquires is released in reverse order however it ends; what
 * cannot be released is left for the reaper.
 *
 * @throws the first thing that went wrong, or `cancelled`
 */
export async function runBackup(run: Run, vm: VmRecord, ports: RunPorts): Promise<RestorePointRecord> {
  const repository = await ports.repositories.usable(run.repositoryId);
  await requireSpace(repository);
  await requireNode(run, ports);
  // What it builds on stays as it is until it is sealed or gone.
  await using _chain = await lockChain(run, ports);
  await using files = new RunFiles(run, ports.reaper);
  const copied = await copyDisks(run, vm, repository, ports);
  // No port and no process of it is left: the next one may start.
  const point = await seal(run, copied, ports);
  files.keep();
  return point;
}

/** Waits for its turn, and has every disk copied into an image that nobody writes any more. */
async function copyDisks(
  run: Run,
  known: VmRecord,
  repository: UsableRepository,
  ports: RunPorts,
): Promise<Sealable> {
  using turn = await takeTurn(run, known, repository, ports);
  const { plan, vm } = turn;
  await using targets = await openTargets(run, plan, repository, turn.place.ports, ports);
  run.answer();
  await using _space = watchSpace(repository, {
    everyMs: ports.timing.spaceCheckMs,
    log: run.log,
    onProblem: (error) => run.stop(error),
  });
  const audit = await planAudit(run, plan, repository, ports);
  const outcome = await backUpOnNode(run, vm, targets, audit, repository, ports);
  await run.enter('sealing');
  // What qemu-nbd still holds is written when it ends: that it ends well is part of the backup.
  await targets.stop();
  return { plan, vm, disks: targets.disks, outcome, audit, repository };
}

/** At once, before it queues: a node that is away now would only fail later. @throws `node_offline` */
async function requireNode({ nodeName }: Run, { nodes }: RunPorts): Promise<void> {
  await nodes.client(nodeName).listJobs();
}

/** Shared with whoever reads the chain; who changes it is waited for. */
async function lockChain(run: Run, { locks }: RunPorts): Promise<ChainLock> {
  const { id: holderId, contextId, repositoryId, signal } = run;
  using waiting = run.waiting();
  return await locks.acquire(
    { contextId, repositoryId, mode: 'shared', purpose: 'backup', holderId },
    {
      signal,
      onWaiting: (holders) => {
        waiting.for = `the chain of restore points, which is in use: ${holders}`;
        run.answer();
      },
    },
  );
}

/** Its place among the backups that run, and the plan for the VM as it is then. */
interface Turn extends Disposable {
  readonly place: Place;
  readonly vm: VmRecord;
  readonly plan: BackupPlan;
}

/** It queues with what the catalogue knows of the VM; the VM is looked at when its turn has come, and may need more. */
async function takeTurn(
  run: Run,
  known: VmRecord,
  repository: UsableRepository,
  ports: RunPorts,
): Promise<Turn> {
  let vm = known;
  for (;;) {
    const place = await ports.queue.enter(demand(run, vm), run.signal, () => run.answer());
    try {
      await run.enter('preparing');
      vm = await discover(ports, run.contextId, run.nodeName);
      const plan = await planBackup(ports, run.request, vm, repository);
      await run.replan(plan);
      if (plan.ports <= place.ports.ports.length)
        return { place, vm, plan, [Symbol.dispose]: () => place[Symbol.dispose]() };
    } catch (error) {
      place[Symbol.dispose]();
      throw error;
    }
    place[Symbol.dispose]();
  }
}

function demand({ id, nodeName }: Run, vm: VmRecord): Demand {
  const disks = backupDisks(vm);
  return {
    jobId: id,
    nodeName,
    ports: disks.length,
    vcenterId: vm.vcenterId ?? '',
    host: vm.hostName || vm.hostMoref,
    datastores: disks.map(({ datastore }) => datastore),
  };
}

/** The disks that a snapshot can hold. */
export function backupDisks(vm: VmRecord): VmRecord['disks'] {
  return vm.disks.filter(({ unsupportedReason }) => unsupportedReason === undefined);
}

/** What the run writes, gone when it ends without a restore point. */
class RunFiles implements AsyncDisposable {
  #kept = false;

  constructor(
    private readonly run: Run,
    private readonly reaper: Reaper,
  ) {}

  /** They belong to a restore point now. */
  keep(): void {
    this.#kept = true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#kept) return;
    await this.reaper.attempt({ what: 'remove_files', args: { backup_id: this.run.id } }, this.run.id);
  }
}
