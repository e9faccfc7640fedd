import type { Command } from 'commander';
import { printable } from '@sendense/core';
import type { ProtectedVm } from '../api-types.js';
import { answer, answerTable, type CommandContext } from '../command-context.js';
import { facts, formatBytes, table } from '../output.js';

export function addVmCommands(program: Command, context: CommandContext): void {
  const vm = program
    .command('vm')
    .description('protected virtual machines')
    .addHelpText('after', '\nExample:\n  sendense vm protect pgtest1 --vcenter vcenter-main');

  vm.command('protect <name>')
    .description('put a VM under protection: it gets a context that backups belong to')
    .requiredOption('--vcenter <id>', 'the vCenter it is in')
    .option('--moref', 'the name given is a moref (vm-57), for VMs that share a name')
    .addHelpText('after', '\nExample:\n  sendense vm protect pgtest1 --vcenter vcenter-main')
    .action(async (name: string, options: { vcenter: string; moref?: boolean }, command: Command) => {
      const which = options.moref ? { moref: name } : { vm_name: name };
      const made = await context
        .api()
        .post<ProtectedVm>('/api/v1/vms', { vcenter_id: options.vcenter, ...which });
      answer(context, command, made, shown(made, context.tty));
    });

  vm.command('list')
    .description('protected VMs')
    .addHelpText('after', '\nExample:\n  sendense vm list')
    .action(async (_options: unknown, command: Command) => {
      const rows = await context.api().list<ProtectedVm>('/api/v1/vms', 'vms');
      answerTable(
        context,
        command,
        rows,
        [
          { title: 'CONTEXT', value: (row) => row.context_id },
          { title: 'VM', value: (row) => row.vm_name },
          { title: 'MOREF', value: (row) => row.moref },
          { title: 'DISKS', value: (row) => row.disks.length, align: 'right' },
          {
            title: 'CAPACITY',
            value: (row) => formatBytes(row.disks.reduce((sum, disk) => sum + disk.capacity_bytes, 0)),
            align: 'right',
          },
          { title: 'VCENTER', value: (row) => row.vcenter_id },
          { title: 'CHANGE TRACKING', value: (row) => row.change_tracking?.state },
        ],
        "No VM is protected yet: 'sendense vm protect NAME --vcenter ID'.",
      );
    });

  vm.command('show <context>')
    .description('one protected VM and its disks')
    .addHelpText('after', '\nExample:\n  sendense vm show ctx-pgtest1-20261121-084316')
    .action(async (id: string, _options: unknown, command: Command) => {
      const found = await context.api().get<ProtectedVm>(`/api/v1/vms/${encodeURIComponent(id)}`);
      answer(context, command, found, shown(found, context.tty));
    });

  vm.command('unprotect <context>')
    .description('end protection; restore points stay')
    .addHelpText('after', '\nExample:\n  sendense vm unprotect ctx-pgtest1-20261121-084316')
    .action(async (id: string, _options: unknown, command: Command) => {
      await context.api().delete(`/api/v1/vms/${encodeURIComponent(id)}`);
      answer(context, command, { context_id: id }, `${id} is no longer protected.`);
    });
}

function shown(vm: ProtectedVm, tty: boolean): string {
  const disks = table(
    vm.disks,
    [
      { title: 'DISK', value: (disk) => disk.disk_number, align: 'right' },
      { title: 'KEY', value: (disk) => disk.disk_key, align: 'right' },
      { title: 'LABEL', value: (disk) => disk.label },
      { title: 'CAPACITY', value: (disk) => formatBytes(disk.capacity_bytes), align: 'right' },
    ],
    tty,
  );
  const head = facts([
    ['context', vm.context_id],
    ['vm', vm.vm_name],
    ['moref', vm.moref],
    ['vcenter', vm.vcenter_id],
    ['change tracking', changeTracking(vm)],
  ]);
  const { state, detail } = vm.change_tracking ?? {};
  const warning =
    state === 'unavailable'
      ? `warning: without changed block tracking every backup is a full one: ${printable(detail ?? '')}`
      : '';
  return [head, disks, warning].filter((part) => part !== '').join('\n\n');
}

function changeTracking({ change_tracking: found }: ProtectedVm): string | undefined {
  if (!found) return undefined;
  return found.detail === '' ? found.state : `${found.state} (${found.detail})`;
}
