import { InvalidArgumentError, type Command } from 'commander';
import { printable } from '@sendense/core';
import type { Backup } from '../api-types.js';
import { answer, answerTable, type CommandContext } from '../command-context.js';
import { showBackup, showPlan } from '../backup-view.js';
import { followBackup } from '../follow.js';
import { formatBytes } from '../output.js';

interface StartOptions {
  readonly repository: string;
  readonly type: string;
  readonly context?: boolean;
  readonly quiesce?: boolean;
  readonly dryRun?: boolean;
  readonly follow?: boolean;
}

export function addBackupCommands(program: Command, context: CommandContext): void {
  const backup = program.command('backup').description('start and watch backups');
  const path = (id: string) => `/api/v1/backups/${encodeURIComponent(id)}`;

  backup
    .command('start <vm>')
    .description('back up all disks of a protected VM')
    .requiredOption('--repository <id>', 'where to')
    .option('--type <type>', 'full or incremental', oneOf('full', 'incremental'), 'full')
    .option('--context', 'the VM is named by its context id, for VMs that share a name')
    .option('--quiesce', 'ask the guest to flush its file systems first')
    .option('--dry-run', 'only show what would be done')
    .option('--follow', 'stay and show progress; the exit code is the outcome')
    .addHelpText(
      'after',
      `
Examples:
  sendense backup start pgtest1 --repository repo-local-1795250596 --follow
  sendense backup start pgtest1 --repository repo-local-1795250596 --type incremental --dry-run`,
    )
    .action(async (vm: string, options: StartOptions, command: Command) => {
      const request = {
        ...(options.context ? { context_id: vm } : { vm_name: vm }),
        repository_id: options.repository,
        backup_type: options.type,
        ...(options.quiesce ? { quiesce: true } : {}),
        ...(options.dryRun ? { dry_run: true } : {}),
      };
      const started = await context.api().post<Backup>('/api/v1/backups', request);
      if (options.dryRun) answer(context, command, started, showPlan(started, context.tty));
      else if (options.follow) await followBackup(context, command, started.backup_id);
      else answer(context, command, started, showBackup(started, context.tty));
    });

  backup
    .command('list')
    .description('backups, newest first')
    .option('--state <state>', 'only those in this state')
    .option('--vm <name>', 'only those of this VM')
    .option('--limit <n>', 'at most this many', '50')
    .action(async (options: { state?: string; vm?: string; limit: string }, command: Command) => {
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
    .action(async (id: string, _options: unknown, command: Command) => {
      const found = await context.api().get<Backup>(path(id));
      answer(context, command, found, showBackup(found, context.tty));
    });

  backup
    .command('follow <id>')
    .description('show progress until it ends; the exit code is the outcome')
    .action(async (id: string, _options: unknown, command: Command) => followBackup(context, command, id));

  backup
    .command('cancel <id>')
    .description('stop a backup and release everything it holds')
    .option('--follow', 'wait until it has ended')
    .action(async (id: string, options: { follow?: boolean }, command: Command) => {
      const cancelled = await context.api().post<Backup>(`${path(id)}/cancel`);
      if (options.follow) await followBackup(context, command, id);
      else answer(context, command, cancelled, `${printable(cancelled.backup_id)} is ${cancelled.state}.`);
    });
}

function oneOf(...values: string[]): (value: string) => string {
  return (value) => {
    if (!values.includes(value)) throw new InvalidArgumentError(`expected ${values.join(' or ')}.`);
    return value;
  };
}
