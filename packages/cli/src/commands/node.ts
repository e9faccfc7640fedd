import type { Command } from 'commander';
import type { EnrolmentToken, NodeInfo } from '../api-types.js';
import { answer, answerTable, type CommandContext } from '../command-context.js';
import { facts, table } from '../output.js';

export function addNodeCommands(program: Command, context: CommandContext): void {
  const node = program.command('node').description('node appliances');
  const path = (name: string) => `/api/v1/nodes/${encodeURIComponent(name)}`;

  node
    .command('add <name>')
    .description('name a new node and make the one-time token that enrols it')
    .addHelpText('after', '\nExample:\n  sendense node add esx-site-1')
    .action(async (name: string, _options: unknown, command: Command) => {
      const made = await context.api().post<EnrolmentToken>('/api/v1/nodes', { name });
      answer(context, command, made, enrolment(made));
    });

  node
    .command('token <name>')
    .description('make a new one-time token for a node (the old one stops working)')
    .action(async (name: string, _options: unknown, command: Command) => {
      const made = await context.api().post<EnrolmentToken>(`${path(name)}/token`);
      answer(context, command, made, enrolment(made));
    });

  node
    .command('list')
    .description('nodes and whether they are connected')
    .action(async (_options: unknown, command: Command) => {
      const rows = await context.api().list<NodeInfo>('/api/v1/nodes', 'nodes');
      answerTable(
        context,
        command,
        rows,
        [
          { title: 'NAME', value: (row) => row.name },
          { title: 'STATE', value: (row) => row.state },
          { title: 'VERSION', value: (row) => row.version },
          { title: 'LAST SEEN', value: (row) => row.last_seen_at },
        ],
        "No node yet: 'sendense node add NAME'.",
      );
    });

  node
    .command('show <name>')
    .description('one node, with what it has for backups')
    .action(async (name: string, _options: unknown, command: Command) => {
      const found = await context.api().get<NodeInfo>(path(name));
      const checks = table(
        found.checks ?? [],
        [
          { title: 'CHECK', value: (row) => row.name },
          { title: 'RESULT', value: (row) => (row.ok ? 'ok' : 'FAIL') },
          { title: 'DETAIL', value: (row) => row.detail },
        ],
        context.tty,
      );
      const head = facts([
        ['node', found.name],
        ['state', found.state],
        ['version', found.version],
        ['last seen', found.last_seen_at],
        ['grpc socket', found.socket_path],
      ]);
      answer(context, command, found, found.checks?.length ? `${head}\n\n${checks}` : head);
    });

  node
    .command('grpc <name>')
    .description('the grpcurl commands that talk to a node through the tunnel, to run on the hub')
    .action(async (name: string, _options: unknown, command: Command) => {
      const found = await context.api().get<NodeInfo>(path(name));
      const commands = [
        'list',
        'describe sendense.node.v1.NodeService',
        'sendense.node.v1.NodeService/GetNode',
      ].map((rest) => `grpcurl -plaintext unix://${found.socket_path} ${rest}`);
      answer(context, command, { socket: found.socket_path, commands }, commands.join('\n'));
    });

  node
    .command('revoke <name>')
    .description('end the node’s connections and never accept its key again')
    .action(async (name: string, _options: unknown, command: Command) => {
      await context.api().delete(path(name));
      answer(context, command, { name }, `Revoked ${name}.`);
    });
}

function enrolment(made: EnrolmentToken): string {
  return [
    `Node ${made.name} is waiting. On the node, before ${made.expires_at}, run:`,
    '',
    `  sendense-node enrol --hub HUB:443 --token-file - <<<'${made.enrolment_token}'`,
  ].join('\n');
}
