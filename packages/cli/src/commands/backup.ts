import type { Command } from 'commander';
import { BACKUP_STATES, printable } from '@sendense/core';
import type { Backup, BackupPlan } from '../api-types.js';
import { answer, answerTable, type CommandContext } from '../command-context.js';
import { showBackup } from '../backup-view.js';
import { followBackup } from '../follow.js';
import { oneOf, rowLimit } from '../option-values.js';
import { formatBytes } from '../output.js';
import { showPlan } from '../plan-view.js';

interface PlanOptions {
  readonly repository: string;
  readonly type: string;
  readonly context?: boolean;
}

interface StartOptions extends PlanOptions {
  readonly quiesce?: boolean;
  readonly dryRun?: boolean;
  readonly follow?: boolean;
}

export function addBackupCommands(program: Command, context: CommandContext): void {
  const backup = program
    .command('backup')
    .description('start and watch backups')
    .addHelpText(
      'after',
      '\nExample:\n  sendense backup start pgtest1 --repository repo-local-1795250596 --follow',
    );
  const path = (id: string) => `/api/v1/backups/${encodeURIComponent(id)}`;

  backup
    .command('start <vm>')
    .description('back up all disks of a protected VM')
    .requiredOption('--repository <id>', 'where to')
    .option('--type <type>', 'full or incremental', oneOf('full', 'incremental'), 'full')
    .option('--context', 'the VM is named by its context id, for VMs that share a name')
    .option('--quiesce', 'ask the guest to flush its file systems first')
    .option('--dry-run', "only show what would be done, as 'backup plan' does")
    .option('--follow', 'stay and show progress; the exit code is the outcome')
    .addHelpText(
      'after',
      `
Examples:
  sendense backup start pgtest1 --repository repo-local-1795250596 --follow
  sendense backup start pgtest1 --repository repo-local-1795250596 --type incremental --dry-run`,
    )
    .action(async (vm: string, options: StartOptions, command: Command) => {
      if (options.dryRun) return plan(context, command, vm, options);
      const started = await context.api().post<Backup>('/api/v1/backups', {
        ...requestOf(vm, options),
        ...(options.quiesce ? { quiesce: true } : {}),
      });
      if (options.follow) await followBackup(context, command, started.backup_id);
      else answer(context, command, started, showBackup(started, context.tty));
    });

  backup
    .command('plan <vm>')
    .description('what a backup would do: full or incremental and why, space, ports, what retention removes')
    .requiredOption('--repository <id>', 'where to')
    .option('--type <type>', 'full or incremental', oneOf('full', 'incremental'), 'full')
    .option('--context', 'the VM is named by its context id, for VMs that share a name')
    .addHelpText(
      'after',
      '\nExample:\n  sendense backup plan pgtest1 --repository repo-local-1795250596 --type incremental',
    )
    .action(async (vm: string, options: PlanOptions, command: Command) =>
      plan(context, command, vm, options),
    );

  backup
    .command('list')
    .description('backups, newest first')
    .option('--state <state>', `only those that are ${BACKUP_STATES.join(', ')}`, oneOf(...BACKUP_STATES))
    .option('--vm <name>', 'only those of this VM')
    .option('--limit <n>', 'at most this many', rowLimit, 50)
    .addHelpText('after', '\nExample:\n  sendense backup list --state failed --limit 10')
    .action(async (options: { state?: string; vm?: string; limit: number }, command: Command) => {
      const { backups } = await context.api().get<{ backups: Backup[] }>('/api/v1/backups', {
        state: options.state,
        vm_name: options.vm,
        limit: options.limit,
      });
      answerTable(
        context,
        command,
        backups,
        [
          { title: 'BACKUP', value: (row) => row.backup_id },
          { title: 'VM', value: (row) => row.vm_name },
          { title: 'TYPE', value: (row) => row.backup_type },
          { title: 'STATE', value: (row) => row.state },
          { title: 'DISKS', value: (row) => row.disk_results.length, align: 'right' },
          { title: 'DONE', value: (row) => formatBytes(row.progress?.bytes_done), align: 'right' },
          { title: 'STARTED', value: (row) => row.started_at ?? row.created_at },
          { title: 'ERROR', value: (row) => row.error?.code },
        ],
        "No backup yet: 'sendense backup start VM --repository ID'.",
      );
    });

  backup
    .command('show <id>')
    .description('one backup, with its disks')
    .addHelpText('after', '\nExample:\n  sendense backup show backup-pgtest1-20261121-084316')
    .action(async (id: string, _options: unknown, command: Command) => {
      const found = await context.api().get<Backup>(path(id));
      answer(context, command, found, showBackup(found, context.tty));
    });

  backup
    .command('follow <id>')
    .description('show progress until it ends; the exit code is the outcome')
    .addHelpText('after', '\nExample:\n  sendense backup follow backup-pgtest1-20261121-084316')
    .action(async (id: string, _options: unknown, command: Command) => followBackup(context, command, id));

  backup
    .command('cancel <id>')
    .description('stop a backup and release everything it holds')
    .option('--follow', 'wait until it has ended')
    .addHelpText('after', '\nExample:\n  sendense backup cancel backup-pgtest1-20261121-084316 --follow')
    .action(async (id: string, options: { follow?: boolean }, command: Command) => {
      const cancelled = await context.api().post<Backup>(`${path(id)}/cancel`);
      if (options.follow) await followBackup(context, command, id);
      else answer(context, command, cancelled, `${printable(cancelled.backup_id)} is ${cancelled.state}.`);
    });
}

async function plan(
  context: CommandContext,
  command: Command,
  vm: string,
  options: PlanOptions,
): Promise<void> {
  const request = { ...requestOf(vm, options), dry_run: true };
  const planned = await context.api().post<BackupPlan>('/api/v1/backups', request);
  answer(context, command, planned, showPlan(planned, context.tty));
}

function requestOf(vm: string, options: PlanOptions): Record<string, unknown> {
  return {
    ...(options.context ? { context_id: vm } : { vm_name: vm }),
    repository_id: options.repository,
    backup_type: options.type,
  };
}
