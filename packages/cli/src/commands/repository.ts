import { resolve } from 'node:path';
import type { Command } from 'commander';
import type { Repository, Task } from '../api-types.js';
import { answer, answerTable, type CommandContext } from '../command-context.js';
import { NO_WAIT, stayWith, type WaitOption } from '../long-work.js';
import { facts, formatBytes } from '../output.js';

interface AddOptions {
  readonly path: string;
  readonly type: string;
  readonly adopt?: boolean;
}

export function addRepositoryCommands(program: Command, context: CommandContext): void {
  const repository = program
    .command('repository')
    .alias('repo')
    .description('where backups are kept')
    .addHelpText('after', '\nExample:\n  sendense repository add main --path /srv/backup');

  repository
    .command('add <name>')
    .description('use a directory of the hub as a repository')
    .requiredOption('--path <directory>', 'an existing directory on the hub, writable for its user')
    .option('--type <type>', 'local', 'local')
    .option('--adopt', 'take over one that another hub used, which must not use it any more')
    .addHelpText(
      'after',
      `
A repository whose catalogue was lost is found again: add its directory, then 'sendense repository rescan'.

Example:
  sendense repository add main --path /srv/backup`,
    )
    .action(async (name: string, options: AddOptions, command: Command) => {
      const made = await context.api().post<Repository>('/api/v1/repositories', {
        ...{ name, type: options.type, path: resolve(options.path) },
        ...(options.adopt ? { adopt: true } : {}),
      });
      answer(context, command, made, shown(made));
    });

  repository
    .command('list')
    .description('repositories, their space and their state')
    .addHelpText('after', '\nExample:\n  sendense repository list')
    .action(async (_options: unknown, command: Command) => {
      const rows = await context.api().list<Repository>('/api/v1/repositories', 'repositories');
      answerTable(
        context,
        command,
        rows,
        [
          { title: 'ID', value: (row) => row.repository_id },
          { title: 'NAME', value: (row) => row.name },
          { title: 'STATUS', value: (row) => row.status },
          { title: 'USED', value: (row) => formatBytes(row.used_bytes), align: 'right' },
          { title: 'FREE', value: (row) => formatBytes(row.available_bytes), align: 'right' },
          { title: 'BACKUPS', value: (row) => row.backup_count, align: 'right' },
          { title: 'PATH', value: (row) => row.path },
          { title: 'REASON', value: (row) => row.status_reason },
        ],
        "No repository yet: 'sendense repository add NAME --path DIRECTORY'.",
      );
    });

  repository
    .command('show <id>')
    .description('one repository')
    .addHelpText('after', '\nExample:\n  sendense repository show repo-local-1795250596')
    .action(async (id: string, _options: unknown, command: Command) => {
      const found = await context.api().get<Repository>(`/api/v1/repositories/${encodeURIComponent(id)}`);
      answer(context, command, found, shown(found));
    });

  repository
    .command('rescan <id>')
    .description(
      'make the catalogue agree with what lies there: find points again, report strangers and damage',
    )
    .option(...NO_WAIT)
    .addHelpText(
      'after',
      `
Nothing is deleted and nothing invented. The exit code is 1 also when something is missing or damaged.

Example:
  sendense repository rescan repo-local-1795250596`,
    )
    .action(async (id: string, options: WaitOption, command: Command) => {
      const path = `/api/v1/repositories/${encodeURIComponent(id)}/rescan`;
      await stayWith(context, command, await context.api().post<Task>(path), options);
    });

  repository
    .command('remove <id>')
    .description('forget a repository; its files stay')
    .addHelpText('after', '\nExample:\n  sendense repository remove repo-local-1795250596')
    .action(async (id: string, _options: unknown, command: Command) => {
      await context.api().delete(`/api/v1/repositories/${encodeURIComponent(id)}`);
      answer(context, command, { repository_id: id }, `Removed ${id}. Its files are untouched.`);
    });
}

function shown(repository: Repository): string {
  return facts([
    ['repository', repository.repository_id],
    ['name', repository.name],
    ['type', repository.type],
    ['path', repository.path],
    ['status', repository.status],
    ['reason', repository.status_reason],
    ['total', formatBytes(repository.total_bytes)],
    ['used', formatBytes(repository.used_bytes)],
    ['available', formatBytes(repository.available_bytes)],
    ['backups', repository.backup_count],
  ]);
}
