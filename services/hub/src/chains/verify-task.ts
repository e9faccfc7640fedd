import type { Catalog, RestorePointRecord, TaskRecord, TaskResult } from '@sendense/catalog';
import { SendenseError } from '@sendense/core';
import type { RepositoryAccess } from '../runs/index.js';
import type { TaskContext, TaskHandler, TaskRequest } from '../tasks/types.js';
import { textArgument } from './remove-task.js';
import type { Finding } from './structure.js';
import { describeFinding, verifyPoint, type Verification, type VerifyTools } from './verify-point.js';
import { pointsThrough } from './verify-suspects.js';

export interface VerifyTaskDependencies {
  readonly catalog: Catalog;
  readonly repositories: RepositoryAccess;
  readonly tools: VerifyTools;
}

/** @param rateLimitBytesPerSecond 0 is unlimited */
export function verifyTask(
  point: RestorePointRecord,
  o: { readonly quick: boolean; readonly rateLimitBytesPerSecond: number; readonly requestedBy: string },
): TaskRequest {
  return {
    kind: 'verify',
    subject: { type: 'restore_point', id: point.id },
    args: {
      context_id: point.contextId,
      repository_id: point.repositoryId,
      quick: o.quick,
      rate_limit: o.rateLimitBytesPerSecond,
    },
    requestedBy: o.requestedBy,
  };
}

/** Task `verify`. It fails with `verification_failed` when anything is wrong with the point; what was found is kept on it. */
export function verifyHandler(dependencies: VerifyTaskDependencies): TaskHandler {
  return {
    resume: false,
    lock: (task) => ({
      contextId: textArgument(task, 'context_id'),
      repositoryId: textArgument(task, 'repository_id'),
      mode: 'shared',
    }),
    run: (task, context) => run(task, context, dependencies),
  };
}

async function run(
  { subject, args }: TaskRecord,
  context: TaskContext,
  { catalog, repositories, tools }: VerifyTaskDependencies,
): Promise<TaskResult> {
  const { signal, log } = context;
  const point = await catalog.restorePoints.get(subject.id);
  if (point.state !== 'sealed')
    throw new SendenseError('conflict', `${point.id} is being removed: there is nothing to verify any more`, {
      context: { restore_point_id: point.id },
    });
  const ancestors = await catalog.restorePoints.chain(point.id);
  refuseUnfinishedRemoval(point, ancestors);
  const repository = await repositories.usable(point.repositoryId);
  const verification = await verifyPoint({
    ...{ repository, point, ancestors, tools, log, signal },
    quick: args['quick'] === true,
    rateLimitBytesPerSecond: Number(args['rate_limit'] ?? 0),
    onProgress: (done, total) => context.progress(done, total),
  });
  const suspects = await record(catalog, point, verification);
  const result = resultOf(point, verification, suspects);
  if (verification.findings.length === 0) return result;
  context.soFar(result);
  throw failure(point, verification, suspects);
}

/** Its images may have moved already, as only the removal knows: what looks like damage then is none. */
export function refuseUnfinishedRemoval(
  point: RestorePointRecord,
  ancestors: readonly RestorePointRecord[],
): void {
  const removing = ancestors.find(({ state }) => state === 'removing');
  if (!removing) return;
  throw new SendenseError(
    'chain_busy',
    `${point.id} cannot be read now: the removal of ${removing.id}, whose data it takes over, has begun and is not finished. Finish it with 'sendense restore-point delete ${removing.id}' and try again`,
    { context: { restore_point_id: point.id, removing_point_id: removing.id }, retryable: true },
  );
}

function resultOf(
  point: RestorePointRecord,
  { full, blocksChecked, findings, findingCount }: Verification,
  suspects: readonly RestorePointRecord[],
): TaskResult {
  return {
    outcome: findings.length === 0 ? 'passed' : 'failed',
    quick: !full,
    disks: point.disks.length,
    blocks_checked: blocksChecked,
    finding_count: findingCount,
    findings: findings.map(({ kind, pointId, disk, path, offset, detail }) => ({
      kind,
      restore_point_id: pointId,
      disk_key: disk?.key ?? null,
      offset: offset ?? null,
      path,
      detail,
    })),
    suspects: suspects.map(({ id }) => id),
  };
}

/** What was found while a point was read for another purpose: it is suspect from now on. @returns the error that says so */
export async function foundDamaged(
  catalog: Catalog,
  point: RestorePointRecord,
  findings: readonly Finding[],
  findingCount: number,
): Promise<SendenseError> {
  const verification = { full: false, blocksChecked: 0, findings, findingCount };
  return failure(point, verification, await record(catalog, point, verification));
}

/** @returns the points that are suspect because of it */
async function record(
  catalog: Catalog,
  point: RestorePointRecord,
  { full, findings, findingCount }: Verification,
): Promise<RestorePointRecord[]> {
  const at = new Date();
  if (findings.length === 0) {
    await catalog.restorePoints.recordVerification(point.id, { outcome: 'passed', full, at });
    return [];
  }
  const all = await catalog.restorePoints.ofContext(point.contextId, point.repositoryId);
  const suspects = pointsThrough(all, damagedDisks(findings));
  const others = suspects.filter(({ id }) => id !== point.id).map(({ id }) => id);
  const detail = summary(findings, findingCount);
  await catalog.restorePoints.markSuspect(others, `the verification of ${point.id} found ${detail}`);
  await catalog.restorePoints.recordVerification(point.id, { outcome: 'failed', full, at, detail });
  return suspects;
}

/** A damaged manifest concerns its own point alone; without its hashes an image can prove no point that is read through it. */
function damagedDisks(findings: readonly Finding[]) {
  return findings.flatMap(({ disk, pointId }) => (disk ? [{ pointId, diskNumber: disk.number }] : []));
}

function summary(findings: readonly Finding[], count: number): string {
  const told = findings.map(describeFinding).join('\n');
  return count > findings.length ? `${told}\nand ${count - findings.length} more` : told;
}

function failure(
  point: RestorePointRecord,
  { findings, findingCount }: Verification,
  suspects: readonly RestorePointRecord[],
): SendenseError {
  const [first] = findings;
  const more = findingCount > 1 ? `, and ${findingCount - 1} more` : '';
  const others = suspects.filter(({ id }) => id !== point.id).length;
  const through = others > 0 ? `, and with it ${others} more that are read through the same file` : '';
  return new SendenseError(
    'verification_failed',
    `${point.id} is damaged: ${first ? describeFinding(first) : ''}${more}. It is marked as suspect${through}; no backup builds on what is suspect`,
    {
      context: {
        restore_point_id: point.id,
        findings: findingCount,
        suspects: suspects.map(({ id }) => id).join(','),
        ...(first?.disk ? { disk_key: first.disk.key } : {}),
        ...(first?.offset === undefined ? {} : { offset: first.offset }),
        ...(first ? { path: first.path } : {}),
      },
    },
  );
}
