import type { Command } from 'commander';
import type { RestorePoint } from '../api-types.js';
import { answer, answerTable, type CommandContext } from '../command-context.js';
import { facts, formatBytes, table } from '../output.js';

export function addRestorePointCommands(program: Command, context: CommandContext): void {
  const point = program.command('restore-point').description('what can be restored');

  point
    .command('list')
    .description('restore points, newest first')
    .option('--vm <name>', 'only those of this VM')
    .option('--repository <id>', 'only those in this repository')
    .action(async (options: { vm?: string; repository?: string }, command: Command) => {
      const rows = await context.api().list<RestorePoint>('/api/v1/restore-points', 'restore_points', {
        vm_name: options.vm,
        repository_id: options.repository,
      });
      answerTable(
        context,
        command,
        rows,
        [
          { title: 'RESTORE POINT', value: (row) => row.restore_point_id },
          { title: 'VM', value: (row) => row.vm_name },
          { title: 'TYPE', value: (row) => row.backup_type },
          { title: 'TAKEN', value: (row) => row.taken_at },
          { title: 'DISKS', value: (row) => row.disks.length, align: 'right' },
          { title: 'STORED', value: (row) => formatBytes(row.stored_bytes), align: 'right' },
          { title: 'REPOSITORY', value: (row) => row.repository_id },
        ],
        'No restore point yet: a backup that completes makes one.',
      );
    });

  point
    .command('show <id>')
    .description('one restore point and the images it is made of')
    .action(async (id: string, _options: unknown, command: Command) => {
      const found = await context.api().get<RestorePoint>(`/api/v1/restore-points/${encodeURIComponent(id)}`);
      answer(context, command, found, shown(found, context.tty));
    });
}

function shown(point: RestorePoint, tty: boolean): string {
  const disks = table(
    point.disks,
    [
      { title: 'DISK', value: (disk) => disk.disk_number, align: 'right' },
      { title: 'KEY', value: (disk) => disk.disk_key, align: 'right' },
      { title: 'TYPE', value: (disk) => disk.backup_type },
      { title: 'CAPACITY', value: (disk) => formatBytes(disk.capacity_bytes), align: 'right' },
      { title: 'STORED', value: (disk) => formatBytes(disk.stored_bytes), align: 'right' },
      { title: 'BUILDS ON', value: (disk) => disk.parent_point_id },
      { title: 'IMAGE', value: (disk) => disk.image_path },
    ],
    tty,
  );
  const head = facts([
    ['restore point', point.restore_point_id],
    ['vm', point.vm_name],
    ['repository', point.repository_id],
    ['type', point.backup_type],
    ['taken', point.taken_at],
    ['sealed', point.sealed_at],
    ['quiesced', point.quiesced ? 'yes' : 'no'],
    ['manifest', point.manifest_path],
  ]);
  return `${head}\n\n${disks}`;
}
