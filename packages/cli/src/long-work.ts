import type { Command } from 'commander';
import { printable } from '@sendense/core';
import type { Task } from './api-types.js';
import { answer, type CommandContext } from './command-context.js';
import { followTask } from './follow.js';

/** What every command that starts a task takes: `--no-wait`. */
export interface WaitOption {
  readonly wait: boolean;
}

export const NO_WAIT = [
  '--no-wait',
  'come back as soon as the hub has taken it; otherwise the exit code is the outcome',
] as const;

/** Stays with a task that was started, or says where to find it. */
export async function stayWith(
  context: CommandContext,
  command: Command,
  task: Task,
  { wait }: WaitOption,
): Promise<void> {
  if (wait) {
    await followTask(context, command, task.task_id);
    return;
  }
  const id = printable(task.task_id);
  answer(context, command, task, `${id} is ${task.state}: see it with 'sendense task follow ${id}'.`);
}
