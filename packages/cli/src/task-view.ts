import { printable } from '@sendense/core';
import type { Task } from './api-types.js';
import { EXIT } from './command-context.js';
import { facts, formatBytes, progressBar } from './output.js';

/** `[####----]  50 %  1.0 GiB of 2.0 GiB`, or what it waits for. */
export function taskProgress(task: Task): string {
  const { state, bytes_done: done, bytes_total: total } = task;
  if (typeof done === 'number' && total)
    return `${progressBar(done, total)}  ${formatBytes(done)} of ${formatBytes(total)}`;
  if (state === 'queued' && task.waiting_for)
    return `number ${task.queue_position ?? '?'}, waiting for ${printable(task.waiting_for)}`;
  return state === 'queued' ? 'waiting for its turn' : state === 'running' ? 'at work' : state;
}

/** The line of a live view. */
export function taskLiveView(task: Task): string {
  const progress = taskProgress(task);
  return [task.task_id, task.state, ...(progress === task.state ? [] : [progress])].join('  ');
}

/** One task with everything. */
export function showTask(task: Task): string {
  const head = facts([
    ['task', task.task_id],
    ['kind', task.kind],
    [task.subject_type.replaceAll('_', ' '), task.subject_id],
    ['state', task.state],
    ['requested by', task.requested_by],
    ['created', task.created_at],
    ['started', task.started_at],
    ['ended', task.ended_at],
    ['progress', task.bytes_total || task.state === 'queued' ? taskProgress(task) : undefined],
    ['cancelled', task.cancel_reason],
  ]);
  return [head, ...resultLines(task)].join('\n');
}

/** How it ended: a sentence, then what it found or did. */
export function taskOutcome(task: Task): string {
  const subject = `${task.kind} of ${printable(task.subject_id)}`;
  const cancelled = task.cancel_reason ? `: ${printable(task.cancel_reason)}` : '';
  const said = task.state === 'cancelled' ? `cancelled${cancelled}` : task.state;
  return [`${subject}: ${said} (${task.task_id}).`, ...resultLines(task)].join('\n');
}

/** A rescan that found damage has done its work; whoever waits for the exit code should hear of it all the same. */
export function taskExitCode(task: Task): number {
  if (task.state === 'cancelled') return EXIT.cancelled;
  if (task.state !== 'completed') return EXIT.failed;
  return task.result?.['outcome'] === 'failed' || findsDamage(task) ? EXIT.failed : EXIT.done;
}

const DAMAGE = ['damaged', 'points_missing'] as const;

function findsDamage({ kind, result }: Task): boolean {
  return kind === 'rescan' && DAMAGE.some((name) => countOf(result, name) > 0);
}

function countOf(result: Task['result'], name: string): number {
  const counts = result?.['counts'];
  const counted = isObject(counts) ? counts[name] : undefined;
  const listed = result?.[name];
  return typeof counted === 'number' ? counted : Array.isArray(listed) ? listed.length : 0;
}

function resultLines(task: Task): string[] {
  const { error, result } = task;
  return [
    ...(error ? [`error: ${printable(error.message)} [${error.code}]`] : []),
    ...Object.entries(error?.context ?? {}).map(([key, value]) => `  ${key}: ${printable(value)}`),
    ...Object.entries(result ?? {}).flatMap(([key, value]) =>
      key === 'counts' ? [] : entry(key, value, countOf(result, key)),
    ),
    ...(findsDamage(task)
      ? ['WARNING: the repository is damaged: what is missing or damaged is listed above']
      : []),
  ];
}

/**
 * `name: value`, or a line for each thing of a list; a long list ends before its `count`. Sizes are recognised by their
 * names.
 */
function entry(key: string, value: unknown, count: number): string[] {
  const name = key.replaceAll('_', ' ');
  if (Array.isArray(value)) {
    if (value.length === 0) return [];
    const left = count - value.length;
    const rest = left > 0 ? [`  … and ${left} more`] : [];
    return [`${name} (${count}):`, ...value.map((item) => `  ${inline(item)}`), ...rest];
  }
  if (value === null || value === undefined || value === '') return [];
  if (typeof value === 'number' && /(^|_)bytes(_|$)/.test(key)) return [`${name}: ${formatBytes(value)}`];
  return [`${name}: ${inline(value)}`];
}

function inline(value: unknown): string {
  if (!isObject(value)) return printable(typeof value === 'string' ? value : JSON.stringify(value));
  return Object.entries(value)
    .filter(([, part]) => part !== null && part !== undefined && part !== '')
    .map(([key, part]) => `${key.replaceAll('_', ' ')}: ${inline(part)}`)
    .join(', ');
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
