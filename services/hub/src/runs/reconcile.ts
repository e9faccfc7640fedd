import type { BackupRecord } from '@sendense/catalog';
import { toSendenseError } from '@sendense/core';
import { killOrphans, type Logger } from '@sendense/runtime';
import { failInterrupted, type CleanupDependencies } from './cleanup-tasks.js';
import type { Reaper } from './reaper.js';

export interface ReconcileOptions extends CleanupDependencies {
  readonly owner: string;
  readonly reaper: Reaper;
  readonly log: Logger;
}

/**
 * Makes the world agree with the catalogue after a start, however the last hub ended: its processes are ended, a backup
 * that was being published is finished, every other one that it was working on is failed, what those have written is
 * removed, the chains that they held are released, and their jobs and snapshots on the nodes are left to the reaper until the nodes are there. Leases need nothing:
 * they are kept in memory only.
 */
export async function reconcile(options: ReconcileOptions): Promise<void> {
  const { catalog, log, owner } = options;
  await killOrphans(owner, log);
  for (const record of await catalog.backups.active()) {
    log.warn({ jobId: record.id, state: record.state }, 'a backup was interrupted by the end of the hub');
    await endInterrupted(record, options);
  }
  await releaseChains(options);
}

/** Only a backup that is still to be published needs what it builds on. */
async function releaseChains({ catalog, locks }: ReconcileOptions): Promise<void> {
  const unfinished = new Set((await catalog.backups.active()).map(({ id }) => id));
  for (const { purpose, holderId } of await catalog.chainLocks.list())
    if (purpose === 'backup' && !unfinished.has(holderId)) await locks.release(holderId);
}

async function endInterrupted(record: BackupRecord, options: ReconcileOptions): Promise<void> {
  const { catalog, reaper, log } = options;
  try {
    const args = { backup_id: record.id };
    if (record.state === 'sealing') {
      await reaper.attempt({ what: 'conclude_backup', args }, record.id);
    } else {
      await failInterrupted(record, catalog);
      await reaper.attempt({ what: 'remove_files', args }, record.id);
    }
    await settleOnNode(record, options);
  } catch (error) {
    // One that cannot be ended must not keep the hub from serving the others.
    const { code, message } = toSendenseError(error);
    log.error({ jobId: record.id, code, error: message }, 'an interrupted backup could not be ended');
  }
}

async function settleOnNode(
  record: BackupRecord,
  { catalog, reaper }: Pick<ReconcileOptions, 'catalog' | 'reaper'>,
): Promise<void> {
  if (record.state === 'queued') return;
  const vm = await catalog.vms.find(record.contextId);
  if (!vm) return;
  const task = {
    what: 'settle_job',
    args: {
      node_name: record.nodeName,
      job_id: record.id,
      context_id: record.contextId,
      vm_moref: vm.moref,
    },
  } as const;
  await reaper.later(task, record.id, 'the hub was started again');
}
