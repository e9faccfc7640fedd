import type { BackupRecord, CleanupArgs } from '@sendense/catalog';
import { SendenseError, toSendenseError } from '@sendense/core';
import type { BackupRunsDependencies } from './dependencies.js';
import { inheritDoubt } from './inherit-doubt.js';
import { connectionOf } from './planning.js';
import { decision, publishFiles, sealRequest } from './publish.js';
import { manifestFile, removeHalfWritten, removeRunFiles } from './run-files.js';
import { storedError } from './run-state.js';

/** Something that a run could not release itself. All of them may be done again without harm. */
export type CleanupTask =
  /** A job that may still run on its node, or have left a snapshot: stop it, sweep, forget it. */
  | { readonly what: 'settle_job'; readonly args: NodeJobArgs & VmArgs }
  /** The job's end is known, but not that its snapshot is gone. */
  | { readonly what: 'sweep_snapshots'; readonly args: SweepArgs }
  | { readonly what: 'forget_job'; readonly args: NodeJobArgs }
  /** A backup that was being sealed when the hub ended: finish it if that was decided, fail it if not. */
  | { readonly what: 'conclude_backup'; readonly args: { readonly backup_id: string } }
  /** Of a backup that has no restore point. */
  | { readonly what: 'remove_files'; readonly args: { readonly backup_id: string } };

interface NodeJobArgs {
  readonly node_name: string;
  readonly job_id: string;
}

interface VmArgs {
  readonly context_id: string;
  readonly vm_moref: string;
}

/** What an earlier build recorded may name no job. */
type SweepArgs = VmArgs & Pick<NodeJobArgs, 'node_name'> & Partial<Pick<NodeJobArgs, 'job_id'>>;

export type CleanupDependencies = Pick<
  BackupRunsDependencies,
  'catalog' | 'nodes' | 'repositories' | 'locks' | 'onCompleted'
>;

/** @throws when it is not done yet */
export async function performCleanup(task: CleanupTask, dependencies: CleanupDependencies): Promise<void> {
  switch (task.what) {
    case 'settle_job':
      return settleJob(task.args, dependencies);
    case 'sweep_snapshots':
      return sweep(task.args, dependencies);
    case 'forget_job':
      return dependencies.nodes.client(task.args.node_name).forgetJob(task.args.job_id);
    case 'conclude_backup':
      return concludeBackup(task.args.backup_id, dependencies);
    case 'remove_files':
      return removeFiles(task.args.backup_id, dependencies);
  }
}

/** @throws `catalog_damaged` for what this build did not write */
export function cleanupTask(what: string, args: CleanupArgs): CleanupTask {
  const text = (name: string): string => {
    const value = args[name];
    if (typeof value === 'string') return value;
    throw new SendenseError('catalog_damaged', `the clean-up ${what} has no ${name}`, { context: { what } });
  };
  const job = () => ({ node_name: text('node_name'), job_id: text('job_id') });
  const vm = () => ({ context_id: text('context_id'), vm_moref: text('vm_moref') });
  switch (what) {
    case 'settle_job':
      return { what, args: { ...job(), ...vm() } };
    case 'sweep_snapshots':
      return {
        what,
        args: { ...(args['job_id'] === undefined ? { node_name: text('node_name') } : job()), ...vm() },
      };
    case 'forget_job':
      return { what, args: job() };
    case 'conclude_backup':
    case 'remove_files':
      return { what, args: { backup_id: text('backup_id') } };
    default:
      throw new SendenseError('catalog_damaged', `there is no clean-up '${what}'`, { context: { what } });
  }
}

async function settleJob(args: NodeJobArgs & VmArgs, dependencies: CleanupDependencies): Promise<void> {
  const client = dependencies.nodes.client(args.node_name);
  await cancelIfKnown(() => client.cancelJob(args.job_id, 'the hub gave the backup up'));
  const jobs = await client.listJobs();
  if (jobs.some(({ jobId, state }) => jobId === args.job_id && state === 'running')) {
    throw new SendenseError('conflict', `job ${args.job_id} is still ending on node ${args.node_name}`, {
      context: { job_id: args.job_id, node_name: args.node_name },
      retryable: true,
    });
  }
  await sweep(args, dependencies);
  await client.forgetJob(args.job_id);
}

async function cancelIfKnown(cancel: () => Promise<unknown>): Promise<void> {
  try {
    await cancel();
  } catch (error) {
    if (toSendenseError(error).code !== 'job_not_found') throw error;
  }
}

async function sweep(
  { node_name, context_id, vm_moref, job_id }: SweepArgs,
  { catalog, nodes }: CleanupDependencies,
): Promise<void> {
  const vcenter = await connectionOf(catalog, context_id);
  // The node that took the snapshot knows which of them belong to its running jobs.
  const { removed, failed } = await nodes.client(node_name).sweepSnapshots(vcenter, vm_moref);
  await catalog.backups.recordSnapshotsSwept(context_id, {
    nodeName: node_name,
    ...(job_id === undefined ? {} : { endedJob: job_id }),
    removed: removed.map(({ snapshotMoref }) => snapshotMoref),
    left: failed.map(({ snapshotMoref }) => snapshotMoref),
  });
  const [first] = failed;
  if (!first) return;
  throw new SendenseError(
    'snapshot_remove_failed',
    `the snapshot ${first.name} (${first.snapshotMoref}) of ${first.vmMoref} could not be removed: ${first.error}`,
    { context: { snapshot_moref: first.snapshotMoref, vm_moref: first.vmMoref }, retryable: true },
  );
}

async function concludeBackup(backupId: string, dependencies: CleanupDependencies): Promise<void> {
  const { catalog, locks, onCompleted } = dependencies;
  const record = await catalog.backups.get(backupId);
  if (record.state === 'sealing') await finishOrFail(record, dependencies);
  await locks.release(backupId);
  await removeFiles(backupId, dependencies);
  const { state, contextId, repositoryId } = await catalog.backups.get(backupId);
  if (state === 'completed') await onCompleted?.(contextId, repositoryId);
}

async function finishOrFail(
  record: BackupRecord,
  { catalog, repositories }: CleanupDependencies,
): Promise<void> {
  const { path } = await repositories.usable(record.repositoryId);
  try {
    const manifest = await decision(path, record);
    if (!manifest) return await failInterrupted(record, catalog);
    await publishFiles(path, manifest);
    await removeHalfWritten(manifestFile(path, record));
    await inheritDoubt(catalog, await catalog.backups.seal(record.id, sealRequest(manifest)));
  } catch (thrown) {
    const error = toSendenseError(thrown);
    // Somebody damaged it meanwhile: trying again would not help. Anything else may pass.
    if (error.code !== 'manifest_invalid') throw error;
    await catalog.backups.changeState(record.id, { state: 'failed', error: storedError(error) });
  }
  return undefined;
}

/** Nobody works on it any more: it failed with the hub that did. */
export async function failInterrupted(
  record: BackupRecord,
  { backups }: Pick<CleanupDependencies['catalog'], 'backups'>,
): Promise<void> {
  if (record.state === 'cancelling') {
    await backups.changeState(record.id, { state: 'cancelled', cancelReason: record.cancelReason });
    return;
  }
  const error = new SendenseError(
    'hub_restarted',
    `the hub ended while the backup was ${record.state}, and what it had written was removed: start the backup again`,
    { context: { backup_id: record.id, state: record.state } },
  );
  await backups.changeState(record.id, { state: 'failed', error: storedError(error) });
}

async function removeFiles(backupId: string, { catalog, repositories }: CleanupDependencies): Promise<void> {
  const record = await catalog.backups.find(backupId);
  // A restore point keeps its files, whatever somebody thought before it was sealed.
  if (!record || record.state === 'completed') return;
  // Also makes sure that it is this repository's directory that is there, and not an empty mount point.
  const { path } = await repositories.usable(record.repositoryId);
  await removeRunFiles(path, record);
}
