import { Option, type Command } from 'commander';
import { printable, SendenseError } from '@sendense/core';
import type { RestorePoint, Task } from '../api-types.js';
import { answer, answerTable, type CommandContext } from '../command-context.js';
import { NO_WAIT, stayWith, type WaitOption } from '../long-work.js';
import { wholeNumber } from '../option-values.js';
import { POINT_COLUMNS, showPoint, suspectNotes } from '../restore-point-view.js';

const path = (id: string) => `/api/v1/restore-points/${encodeURIComponent(id)}`;

export function addRestorePointCommands(program: Command, context: CommandContext): void {
  const point = program
    .command('restore-point')
    .description('what can be restored')
    .addHelpText('after', '\nExample:\n  sendense restore-point list --vm pgtest1');
  addReading(point, context);
  addVerify(point, context);
  addExport(point, context);
  addDelete(point, context);
  addHolds(point, context);
}

function addReading(point: Command, context: CommandContext): void {
  point
    .command('list')
    .description('restore points, newest first')
    .option('--vm <name>', 'only those of this VM')
    .option('--repository <id>', 'only those in this repository')
    .addHelpText('after', '\nExample:\n  sendense restore-point list --vm pgtest1')
    .action(async (options: { vm?: string; repository?: string }, command: Command) => {
      const rows = await context.api().list<RestorePoint>('/api/v1/restore-points', 'restore_points', {
        vm_name: options.vm,
        repository_id: options.repository,
      });
      const none = 'No restore point yet: a backup that completes makes one.';
      answerTable(context, command, rows, POINT_COLUMNS, none);
      for (const note of suspectNotes(rows)) context.note(note);
    });

  point
    .command('show <id>')
    .description('one restore point and the images it is made of')
    .addHelpText('after', '\nExample:\n  sendense restore-point show backup-pgtest1-20261121-084316')
    .action(async (id: string, _options: unknown, command: Command) => {
      const found = await context.api().get<RestorePoint>(path(id));
      answer(context, command, found, showPoint(found, context.tty));
    });
}

function addVerify(point: Command, context: CommandContext): void {
  point
    .command('verify <id>')
    .description('read a restore point as a restore would, and compare every block with its hash')
    .option('--quick', 'only the structure: files, sizes, who builds on whom, the metadata of the images')
    .option(...NO_WAIT)
    .addHelpText(
      'after',
      `
The exit code is 1 when damage is found. Such a point is marked as suspect, and with it every point that is read
through the same file; a complete verification that passes takes the mark away.

Examples:
  sendense restore-point verify backup-pgtest1-20261121-084316
  sendense restore-point verify backup-pgtest1-20261121-084316 --quick`,
    )
    .action(async (id: string, options: WaitOption & { quick?: boolean }, command: Command) => {
      const body = options.quick ? { quick: true } : {};
      await stayWith(context, command, await context.api().post<Task>(`${path(id)}/verify`, body), options);
    });
}

interface ExportOptions extends WaitOption {
  readonly to: string;
  readonly disk?: number[];
  readonly all?: boolean;
  readonly format: string;
  readonly acceptSuspect?: boolean;
}

function addExport(point: Command, context: CommandContext): void {
  const formats = new Option('--format <format>', 'of the files').choices(['raw', 'qcow2', 'vmdk', 'vhdx']);
  point
    .command('export <id>')
    .description('write disks of a restore point to files on the hub, every block compared with its hash')
    .requiredOption('--to <name>', 'the folder that is made for them below SENDENSE_EXPORT_DIR of the hub')
    .addOption(new Option('--disk <key...>', 'only these disks').argParser(eachKey).conflicts('all'))
    .option('--all', 'all disks')
    .addOption(formats.default('raw'))
    .option('--accept-suspect', 'also a suspect point; a block that is wrong fails it all the same')
    .option(...NO_WAIT)
    .addHelpText(
      'after',
      `
The folder appears when all of it is written; when anything fails nothing is left of it. qcow2, vmdk and vhdx are made
from a raw file beside them, and need its space for a while.

Examples:
  sendense restore-point export backup-pgtest1-20261121-084316 --all --to pgtest1-monday
  sendense restore-point export backup-pgtest1-20261121-084316 --disk 2000 --to root-disk --format qcow2`,
    )
    .action(async (id: string, options: ExportOptions, command: Command) => {
      const { to, disk, all, format, acceptSuspect } = options;
      if (!disk && !all) throw new SendenseError('invalid_argument', 'say which disks: --all, or --disk KEY');
      const body = {
        ...{ to, format },
        ...(disk ? { disk_keys: disk } : {}),
        ...(acceptSuspect ? { accept_suspect: true } : {}),
      };
      await stayWith(context, command, await context.api().post<Task>(`${path(id)}/export`, body), options);
    });
}

function eachKey(text: string, before: number[] | undefined): number[] {
  return [...(before ?? []), wholeNumber(0)(text)];
}

function addDelete(point: Command, context: CommandContext): void {
  point
    .command('delete <id>')
    .description('remove a restore point; what later ones need of it is merged into them first')
    .option(...NO_WAIT)
    .addHelpText(
      'after',
      `
A held restore point is refused: release it first.

Example:
  sendense restore-point delete backup-pgtest1-20261121-084316`,
    )
    .action(async (id: string, options: WaitOption, command: Command) => {
      await stayWith(context, command, await context.api().delete<Task>(path(id)), options);
    });
}

function addHolds(point: Command, context: CommandContext): void {
  point
    .command('hold <id>')
    .description('keep a restore point whatever retention says, until it is released')
    .requiredOption('--reason <text>', 'why; shown to whoever wants to remove it')
    .addHelpText(
      'after',
      "\nExample:\n  sendense restore-point hold backup-pgtest1-20261121-084316 --reason 'audit 2026'",
    )
    .action(async (id: string, { reason }: { reason: string }, command: Command) => {
      const held = await context.api().put<RestorePoint>(`${path(id)}/hold`, { reason });
      answer(context, command, held, `${printable(id)} is held: ${printable(reason)}`);
    });

  point
    .command('release <id>')
    .description('end a hold: retention may remove the restore point again')
    .addHelpText('after', '\nExample:\n  sendense restore-point release backup-pgtest1-20261121-084316')
    .action(async (id: string, _options: unknown, command: Command) => {
      const released = await context.api().delete<RestorePoint>(`${path(id)}/hold`);
      answer(context, command, released, `${printable(id)} is no longer held.`);
    });
}
