import type { Command } from 'commander';
import { printable } from '@sendense/core';
import { TASK_KINDS, TASK_STATES } from '@sendense/core';
import type { Task } from '../api-types.js';
import { answer, answerTable, type CommandContext } from '../command-context.js';
import { followTask } from '../follow.js';
import { oneOf, rowLimit } from '../option-values.js';
import { showTask } from '../task-view.js';

interface ListOptions {
  readonly state?: string;
  readonly kind?: string;
  readonly limit: number;
}

export function addTaskCommands(program: Command, context: CommandContext): void {
  const task = program
    .command('task')
    .description('long work on repositories: verifying, exporting, removing, pruning, rescanning')
    .addHelpText('after', '\nExample:\n  sendense task list --state running');
  const path = (id: string) => `/api/v1/tasks/${encodeURIComponent(id)}`;

  task
    .command('list')
    .description('tasks, newest first')
    .option('--state <state>', `only those that are ${TASK_STATES.join(', ')}`, oneOf(...TASK_STATES))
    .option('--kind <kind>', `only those of this kind: ${TASK_KINDS.join(', ')}`, oneOf(...TASK_KINDS))
    .option('--limit <n>', 'at most this many', rowLimit, 50)
    .addHelpText('after', '\nExample:\n  sendense task list --state running')
    .action(async ({ state, kind, limit }: ListOptions, command: Command) => {
      const { tasks } = await context.api().get<{ tasks: Task[] }>('/api/v1/tasks', { state, kind, limit });
      answerTable(
        context,
        command,
        tasks,
        [
          { title: 'TASK', value: (row) => row.task_id },
          { title: 'KIND', value: (row) => row.kind },
          { title: 'SUBJECT', value: (row) => row.subject_id },
          { title: 'STATE', value: (row) => row.state },
          { title: 'DONE', value: percentOf, align: 'right' },
          { title: 'CREATED', value: (row) => row.created_at },
          { title: 'ENDED', value: (row) => row.ended_at },
          { title: 'ERROR', value: (row) => row.error?.code },
        ],
        'No task yet: verifying, removing and rescanning make some.',
      );
    });

  task
    .command('show <id>')
    .description('one task, with its result')
    .addHelpText('after', '\nExample:\n  sendense task show task-verify-20261121-084316')
    .action(async (id: string, _options: unknown, command: Command) => {
      const found = await context.api().get<Task>(path(id));
      answer(context, command, found, showTask(found));
    });

  task
    .command('follow <id>')
    .description('show progress until it ends; the exit code is the outcome')
    .addHelpText('after', '\nExample:\n  sendense task follow task-verify-20261121-084316')
    .action(async (id: string, _options: unknown, command: Command) => followTask(context, command, id));

  task
    .command('cancel <id>')
    .description('stop a task; a merge that has begun is finished all the same, and the hub says so')
    .option('--follow', 'wait until it has ended')
    .addHelpText('after', '\nExample:\n  sendense task cancel task-verify-20261121-084316 --follow')
    .action(async (id: string, options: { follow?: boolean }, command: Command) => {
      const asked = await context.api().post<Task>(`${path(id)}/cancel`);
      if (options.follow) await followTask(context, command, id);
      else {
        const stopping = asked.state === 'running' ? 'is asked to stop' : `is ${asked.state}`;
        answer(context, command, asked, `${printable(asked.task_id)} ${stopping}.`);
      }
    });
}

function percentOf({ bytes_done: done, bytes_total: total }: Task): string | undefined {
  return typeof done === 'number' && total ? `${Math.floor((100 * done) / total)} %` : undefined;
}
