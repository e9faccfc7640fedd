import type { Catalog, RestorePointRecord, TaskRecord, TaskResult } from '@sendense/catalog';
import { SendenseError } from '@sendense/core';
import { textArgument } from '../chains/remove-task.js';
import type { VerifyTools } from '../chains/verify-point.js';
import { foundDamaged, refuseUnfinishedRemoval } from '../chains/verify-task.js';
import type { RepositoryAccess } from '../runs/index.js';
import type { TaskContext, TaskHandler, TaskRequest } from '../tasks/types.js';
import type { ExportDirectory } from './export-directory.js';
import { EXPORT_FORMATS, type ExportFormat } from './export-disk.js';
import { exportPoint } from './export-point.js';

export interface ExportTaskDependencies {
  readonly catalog: Catalog;
  readonly repositories: RepositoryAccess;
  readonly directory: ExportDirectory;
  readonly tools: VerifyTools;
}

export interface ExportWish {
  /** Device keys; undefined is all disks of the point. */
  readonly diskKeys: readonly number[] | undefined;
  readonly format: ExportFormat;
  /** Of the folder. */
  readonly to: string;
  /** Also a point whose content is in doubt. */
  readonly acceptSuspect: boolean;
  readonly requestedBy: string;
}

/** @throws `restore_point_suspect`, `not_found` for a disk, `conflict`: what the task would refuse anyhow */
export function exportTask(point: RestorePointRecord, wish: ExportWish): TaskRequest {
  requireExportable(point, wish.acceptSuspect);
  const keys = wish.diskKeys ?? point.disks.map(({ diskKey }) => diskKey);
  const unknown = keys.find((key) => !point.disks.some(({ diskKey }) => diskKey === key));
  if (unknown !== undefined)
    throw new SendenseError(
      'not_found',
      `${point.id} has no disk ${unknown}: it has ${point.disks.map(({ diskKey, label }) => `${diskKey} (${label})`).join(', ')}`,
      { context: { restore_point_id: point.id, disk_key: unknown } },
    );
  return {
    kind: 'export',
    subject: { type: 'restore_point', id: point.id },
    args: {
      ...{ context_id: point.contextId, repository_id: point.repositoryId },
      ...{ disk_keys: [...new Set(keys)].join(','), format: wish.format, to: wish.to },
      accept_suspect: wish.acceptSuspect,
    },
    requestedBy: wish.requestedBy,
  };
}

/**
 * Task `export`. When a block is not what was read at the source it fails as a verification does, and what it found is
 * kept on the point.
 */
export function exportHandler(dependencies: ExportTaskDependencies): TaskHandler {
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
  task: TaskRecord,
  { signal, log, progress }: TaskContext,
  { catalog, repositories, directory, tools }: ExportTaskDependencies,
): Promise<TaskResult> {
  const point = await catalog.restorePoints.get(task.subject.id);
  requireExportable(point, task.args['accept_suspect'] === true);
  const ancestors = await catalog.restorePoints.chain(point.id);
  refuseUnfinishedRemoval(point, ancestors);
  const format = EXPORT_FORMATS.find((known) => known === task.args['format']) ?? 'raw';
  const outcome = await exportPoint({
    ...{ point, ancestors, format, directory, tools, log, signal },
    repository: await repositories.usable(point.repositoryId),
    diskKeys: textArgument(task, 'disk_keys').split(',').map(Number),
    name: textArgument(task, 'to'),
    taskId: task.id,
    onProgress: progress,
  });
  if ('findings' in outcome)
    throw await foundDamaged(catalog, point, outcome.findings, outcome.findings.length);
  return {
    restore_point_id: point.id,
    path: outcome.path,
    format,
    disks: outcome.disks.map(({ diskKey, file, capacityBytes, storedBytes }) => ({
      ...{ disk_key: diskKey, file, capacity_bytes: capacityBytes, stored_bytes: storedBytes },
    })),
  };
}

function requireExportable(
  { id, state, suspect, suspectReason }: RestorePointRecord,
  acceptSuspect: boolean,
) {
  if (state !== 'sealed')
    throw new SendenseError('conflict', `${id} is being removed: it cannot be exported any more`, {
      context: { restore_point_id: id },
    });
  if (suspect && !acceptSuspect)
    throw new SendenseError(
      'restore_point_suspect',
      `${id} is suspect (${suspectReason ?? 'its content is in doubt'}): export another point, or say --accept-suspect ("accept_suspect": true) to have this one if all of its hashes are right`,
      { context: { restore_point_id: id } },
    );
}
