import type { Command } from 'commander';
import { SendenseError } from '@sendense/core';
import type { DiscoveredVm, VCenter } from '../api-types.js';
import { answer, answerTable, type CommandContext } from '../command-context.js';
import { facts, formatBytes } from '../output.js';
import { readSecret } from '../secret-input.js';

interface AddOptions {
  readonly node: string;
  readonly endpoint: string;
  readonly username: string;
  readonly passwordFile?: string;
  readonly thumbprint?: string;
}

interface UpdateOptions {
  readonly username?: string;
  readonly passwordFile?: string;
  readonly thumbprint?: string;
}

const path = (id: string) => `/api/v1/vcenters/${encodeURIComponent(id)}`;

export function addVCenterCommands(program: Command, context: CommandContext): void {
  const vcenter = program
    .command('vcenter')
    .description('vCenters and stand-alone ESXi hosts')
    .addHelpText('after', '\nExample:\n  sendense vcenter vms vcenter-main');
  addUpdateCommand(vcenter, context);

  vcenter
    .command('add <name>')
    .description('store how to reach a vCenter, after a test login through the node')
    .requiredOption('--node <name>', 'the node that stands next to it')
    .requiredOption('--endpoint <host[:port]>', 'its address')
    .requiredOption('--username <user>', 'user with the privileges of docs/operations.md')
    .option(
      '--password-file <path>',
      "file that holds the password; '-' reads standard input (default: asked for)",
    )
    .option(
      '--thumbprint <hex>',
      'SHA-256 or SHA-1 of its certificate; without it, the presented one is shown',
    )
    .addHelpText(
      'after',
      `
Example:
  sendense vcenter add main --node site-1 --endpoint vcenter.example.org \\
    --username backup@vsphere.local --password-file ./password`,
    )
    .action(async (name: string, options: AddOptions, command: Command) => {
      const password = await readSecret(context, options.passwordFile, 'Password: ');
      if (!password)
        throw new SendenseError(
          'invalid_argument',
          'no password: give --password-file, or run this on a terminal',
        );
      const made = await context.api().post<VCenter>('/api/v1/vcenters', {
        name,
        node_name: options.node,
        endpoint: options.endpoint,
        username: options.username,
        password,
        ...(options.thumbprint === undefined ? {} : { thumbprint: options.thumbprint }),
      });
      answer(context, command, made, shown(made));
    });

  vcenter
    .command('list')
    .description('known vCenters')
    .addHelpText('after', '\nExample:\n  sendense vcenter list')
    .action(async (_options: unknown, command: Command) => {
      const rows = await context.api().list<VCenter>('/api/v1/vcenters', 'vcenters');
      answerTable(
        context,
        command,
        rows,
        [
          { title: 'ID', value: (row) => row.vcenter_id },
          { title: 'NAME', value: (row) => row.name },
          { title: 'NODE', value: (row) => row.node_name },
          { title: 'ENDPOINT', value: (row) => row.endpoint },
          { title: 'USER', value: (row) => row.username },
        ],
        "No vCenter yet: 'sendense vcenter add NAME --node NODE --endpoint HOST --username USER'.",
      );
    });

  vcenter
    .command('check <id>')
    .description('log in through the node and report what answers')
    .addHelpText('after', '\nExample:\n  sendense vcenter check vcenter-main')
    .action(async (id: string, _options: unknown, command: Command) => {
      const result = await context.api().post<Record<string, string>>(`${path(id)}/check`);
      answer(context, command, result, facts(Object.entries(result)));
    });

  vcenter
    .command('vms <id>')
    .description('the VMs it has now')
    .addHelpText('after', '\nExample:\n  sendense vcenter vms vcenter-main')
    .action(async (id: string, _options: unknown, command: Command) => {
      const rows = await context.api().list<DiscoveredVm>(`${path(id)}/vms`, 'vms');
      answerTable(
        context,
        command,
        rows,
        [
          { title: 'MOREF', value: (row) => row.moref },
          { title: 'NAME', value: (row) => row.name },
          { title: 'POWER', value: (row) => row.power_state },
          { title: 'DISKS', value: (row) => row.disks.length, align: 'right' },
          {
            title: 'CAPACITY',
            value: (row) => formatBytes(row.disks.reduce((sum, disk) => sum + disk.capacity_bytes, 0)),
            align: 'right',
          },
          { title: 'PROTECTED AS', value: (row) => row.context_id },
        ],
        'This vCenter shows no VM to that user.',
      );
    });

  vcenter
    .command('remove <id>')
    .description('forget a vCenter and its stored password')
    .addHelpText('after', '\nExample:\n  sendense vcenter remove vcenter-main')
    .action(async (id: string, _options: unknown, command: Command) => {
      await context.api().delete(path(id));
      answer(context, command, { vcenter_id: id }, `Removed ${id} and its stored password.`);
    });
}

function addUpdateCommand(vcenter: Command, context: CommandContext): void {
  vcenter
    .command('update <id>')
    .description('change the password, user or pinned certificate of a vCenter, after a test login')
    .option('--username <user>', 'another user')
    .option('--password-file <path>', "file that holds the new password; '-' reads standard input")
    .option('--thumbprint <hex>', 'SHA-256 or SHA-1 of its new certificate')
    .addHelpText(
      'after',
      `
Without any option the new password is asked for. What is not given stays; when the login fails, all stays.

Example:
  sendense vcenter update vcenter-main --password-file ./password`,
    )
    .action(async (id: string, options: UpdateOptions, command: Command) => {
      const { username, passwordFile, thumbprint } = options;
      const asked = passwordFile !== undefined || (username === undefined && thumbprint === undefined);
      const password = asked ? await readSecret(context, passwordFile, 'New password: ') : undefined;
      if (asked && !password)
        throw new SendenseError(
          'invalid_argument',
          'nothing to change: give --password-file, --username or --thumbprint, or run this on a terminal to be asked for the password',
        );
      // What is undefined is not in the JSON.
      const changed = await context.api().patch<VCenter>(path(id), { username, password, thumbprint });
      answer(context, command, changed, shown(changed));
    });
}

function shown(vcenter: VCenter): string {
  return facts([
    ['vcenter', vcenter.vcenter_id],
    ['name', vcenter.name],
    ['node', vcenter.node_name],
    ['endpoint', vcenter.endpoint],
    ['user', vcenter.username],
    ['thumbprint', vcenter.thumbprint],
  ]);
}
