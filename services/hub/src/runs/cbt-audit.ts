import { join } from 'node:path';
import { printable, SendenseError, toSendenseError } from '@sendense/core';
import { HASH_BLOCK_BYTES, lookUpHashes, sampleBlocks } from '@sendense/nbd';
import type { IncrementalDiskPlan } from '@sendense/core';
import { diskChains } from '../chains/structure.js';
import { isThere } from '../chains/merge-disk.js';
import { pointsThrough } from '../chains/verify-suspects.js';
import type { BackupRunsDependencies, UsableRepository } from './dependencies.js';
import type { NodeOutcome } from './node-events.js';
import type { Run } from './run-state.js';
import type { BackupPlan } from './types.js';

/** What the blocks of one incremental disk must be if changed block tracking says that they did not change. */
export interface DiskAudit {
  readonly plan: IncrementalDiskPlan;
  /** Ascending. */
  readonly blocks: readonly number[];
  /** By block; undefined for one that the chain shows as zeros. */
  readonly expected: ReadonlyMap<number, Buffer | undefined>;
}

/** By disk key. */
export type CbtAudit = ReadonlyMap<number, DiskAudit>;

type AuditDependencies = Pick<BackupRunsDependencies, 'catalog' | 'config'>;

/**
 * Picks some blocks of each incremental disk, with what the chain's hashes say of them. The node looks at those that no
 * changed area touches: changed block tracking has lied before, and a chain built on a lie is damaged without a trace.
 * A disk whose hashes cannot be read is not audited, with a warning: its verification will say what is wrong with them.
 */
export async function planAudit(
  run: Run,
  plan: BackupPlan,
  repository: UsableRepository,
  { catalog, config }: AuditDependencies,
): Promise<CbtAudit> {
  const audit = new Map<number, DiskAudit>();
  if (config.cbtAuditBlocks === 0) return audit;
  for (const disk of plan.disks) {
    if (disk.type !== 'incremental') continue;
    try {
      const paths = await hashesOfChain(disk, repository, catalog);
      const options = { count: config.cbtAuditBlocks, sizeBytes: disk.capacityBytes };
      const blocks = await sampleBlocks(paths, options);
      audit.set(disk.key, { plan: disk, blocks, expected: await lookUpHashes(paths, blocks) });
    } catch (error) {
      await run.warn(
        'cbt_audit_skipped',
        `what changed block tracking says of disk ${disk.key} is not audited: ${toSendenseError(error).message}`,
        { disk_key: String(disk.key) },
      );
    }
  }
  return audit;
}

/** Of the point that the disk builds on and those below it, newest first; absolute. */
async function hashesOfChain(
  { key, number, parent }: IncrementalDiskPlan,
  repository: UsableRepository,
  { restorePoints }: AuditDependencies['catalog'],
): Promise<string[]> {
  const chain = await restorePoints.chain(parent.restorePointId);
  const point = chain.find(({ id }) => id === parent.restorePointId);
  const line = point && diskChains(point, chain).find(({ diskNumber }) => diskNumber === number);
  const paths: string[] = [];
  for (const { pointId, hashesPath } of line?.images ?? []) {
    if (hashesPath === undefined)
      throw new SendenseError(
        'block_hashes_invalid',
        `${pointId} has no block hashes of disk ${key}: take a full backup of the VM`,
        {
          context: { restore_point_id: pointId, disk_key: key },
        },
      );
    const path = join(repository.path, hashesPath);
    // Those of a removal that is not finished go once the point above holds them too.
    const isRemoving = chain.some(({ id, state }) => id === pointId && state === 'removing');
    if (!isRemoving || (await isThere(path))) paths.push(path);
  }
  return paths;
}

interface Missed {
  readonly disk: DiskAudit;
  /** The blocks that differ, ascending. */
  readonly blocks: readonly number[];
  readonly audited: number;
}

/**
 * Compares what the node found with what the chain's hashes say. A difference is a change that nobody told of: the points
 * that the disk builds on are marked as suspect, since nobody knows when the first change was missed.
 *
 * @throws `cbt_audit_failed`
 */
export async function checkAudit(
  run: Run,
  audit: CbtAudit,
  outcome: NodeOutcome,
  dependencies: AuditDependencies,
): Promise<void> {
  const missed = [...audit.values()].flatMap((disk) => missedBy(disk, outcome));
  const [first] = missed;
  if (!first) return;
  const error = auditFailed(run, first, missed);
  await markSuspect(run, missed, error, dependencies);
  throw error;
}

function missedBy(disk: DiskAudit, outcome: NodeOutcome): Missed[] {
  const { audited, full } = outcome.disk(disk.plan.key);
  // Read in full: nothing that the tracking said was used.
  if (full) return [];
  const blocks = audited
    .filter(({ block, hash }) => disk.expected.has(block) && !isSame(disk.expected.get(block), hash))
    .map(({ block }) => block)
    .toSorted((a, b) => a - b);
  return blocks.length === 0 ? [] : [{ disk, blocks, audited: audited.length }];
}

function isSame(expected: Buffer | undefined, found: Buffer | undefined): boolean {
  return expected === undefined || found === undefined ? expected === found : expected.equals(found);
}

function auditFailed(run: Run, { disk, blocks, audited }: Missed, all: readonly Missed[]): SendenseError {
  const { key, parent } = disk.plan;
  const offset = (blocks[0] ?? 0) * HASH_BLOCK_BYTES;
  return new SendenseError(
    'cbt_audit_failed',
    `disk ${key} of ${printable(run.vmName)} changed at byte ${offset} although changed block tracking did not say so (${blocks.length} of ${audited} blocks that were looked at). Restore point ${parent.restorePointId} is suspect now: verify it. The next backup is a full; if this comes again, reset changed block tracking of the VM`,
    {
      context: {
        disk_key: key,
        offset,
        missed_blocks: blocks.length,
        audited_blocks: audited,
        disks: all.map(({ disk: { plan } }) => plan.key).join(','),
        restore_point_id: parent.restorePointId,
      },
    },
  );
}

async function markSuspect(
  { id, contextId, repositoryId, log }: Run,
  missed: readonly Missed[],
  error: SendenseError,
  { catalog }: AuditDependencies,
): Promise<void> {
  const points = await catalog.restorePoints.ofContext(contextId, repositoryId);
  const damaged = missed.map(({ disk: { plan } }) => ({
    pointId: plan.parent.restorePointId,
    diskNumber: plan.number,
  }));
  const suspects = pointsThrough(points, damaged).map((point) => point.id);
  log.error({ code: error.code, ...error.context, suspects }, error.message);
  await catalog.restorePoints.markSuspect(suspects, error.message);
  for (const suspect of suspects)
    await catalog.audit.append({
      action: 'restore_point.suspect',
      actor: 'hub',
      outcome: 'failed',
      subjectType: 'restore_point',
      subjectId: suspect,
      detail: { reason: error.code, backup_id: id, ...error.context },
    });
}
