import { SendenseError } from '@sendense/core';
import type { Constellation, Stage } from '@sendense/stage';

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
export async function verify(stage: Stage, pair: Constellation, pointId: string): Promise<VerifyFacts> {
  const started = await pair.cli<TaskAnswer>('restore-point', 'verify', pointId, '--no-wait');
  await stage.show('sendense', ['task', 'follow', started.task_id], pair.cliEnvironment);
  const { result } = await pair.cli<TaskAnswer>('task', 'show', started.task_id);
  return {
    restore_point_id: pointId,
    outcome: result?.outcome ?? 'failed',
    blocks_checked: result?.blocks_checked ?? 0,
  };
}

/** Shows what keeping only the newest point would mean: a policy is set, looked at, and taken back. */
export async function previewRetention(
  stage: Stage,
  pair: Constellation,
  vm: string,
  repositoryId: string,
): Promise<PreviewFacts> {
  const target = ['--vm', vm, '--repository', repositoryId];
  await pair.cli('retention', 'set', '--vm', vm, '--keep-last', '1');
  const exitCode = await stage.show('sendense', ['retention', 'preview', ...target], pair.cliEnvironment);
  if (exitCode !== 0) throw new SendenseError('process_failed', 'retention preview failed: see above');
  const preview = await pair.cli<{ points: readonly { restore_point_id: string; action: string }[] }>(
    'retention',
    'preview',
    ...target,
  );
  await pair.cli('retention', 'clear', '--vm', vm);
  const points = await pair.cli<readonly unknown[]>('restore-point', 'list', '--vm', vm);
  const ids = (action: string) =>
    preview.points.filter((point) => point.action === action).map((point) => point.restore_point_id);
  return { keep: ids('keep'), remove: ids('remove'), restore_points: points.length };
}
