import { SendenseError } from '@sendense/core';
import type { Programs } from '@sendense/stage';
import type { Hub } from './show.js';

/** What a verification found. */
export interface VerifyFacts {
  readonly restore_point_id: string;
  readonly outcome: string;
  readonly blocks_checked: number;
}

/** What a policy would do; nothing of it is done. */
export interface PreviewFacts {
  readonly keep: readonly string[];
  readonly remove: readonly string[];
  /** Restore points that are there afterwards. */
  readonly restore_points: number;
}

interface TaskAnswer {
  readonly task_id: string;
  readonly state: string;
  readonly result: { readonly outcome?: string; readonly blocks_checked?: number } | null;
}

/** Reads a restore point as a restore would, and compares every block with its hash. */
export async function verify(programs: Programs, hub: Hub, pointId: string): Promise<VerifyFacts> {
  const started = await hub.cli<TaskAnswer>('restore-point', 'verify', pointId, '--no-wait');
  await programs.show('sendense', ['task', 'follow', started.task_id], hub.cliEnvironment);
  const { result } = await hub.cli<TaskAnswer>('task', 'show', started.task_id);
  return {
    restore_point_id: pointId,
    outcome: result?.outcome ?? 'failed',
    blocks_checked: result?.blocks_checked ?? 0,
  };
}

/** Shows what keeping only the newest point would mean: a policy is set, looked at, and taken back. */
export async function previewRetention(
  programs: Programs,
  hub: Hub,
  vm: string,
  repositoryId: string,
): Promise<PreviewFacts> {
  const target = ['--vm', vm, '--repository', repositoryId];
  await hub.cli('retention', 'set', '--vm', vm, '--keep-last', '1');
  const exitCode = await programs.show('sendense', ['retention', 'preview', ...target], hub.cliEnvironment);
  if (exitCode !== 0) throw new SendenseError('process_failed', 'retention preview failed: see above');
  const preview = await hub.cli<{ points: readonly { restore_point_id: string; action: string }[] }>(
    'retention',
    'preview',
    ...target,
  );
  await hub.cli('retention', 'clear', '--vm', vm);
  const points = await hub.cli<readonly unknown[]>('restore-point', 'list', '--vm', vm);
  const ids = (action: string) =>
    preview.points.filter((point) => point.action === action).map((point) => point.restore_point_id);
  return { keep: ids('keep'), remove: ids('remove'), restore_points: points.length };
}
