import type { Command } from 'commander';
import { SendenseError } from '@sendense/core';
import type { EnrolmentToken, NodeInfo } from '../api-types.js';
import { answer, answerTable, type CommandContext } from '../command-context.js';
import { facts, table } from '../output.js';

export function addNodeCommands(program: Command, context: CommandContext): void {
  const node = program
    .command('node')
    .description('node appliances')
    .addHelpText('after', '\nExample:\n  sendense node add site-1');
  const path = (name: string) => `/api/v1/nodes/${encodeURIComponent(name)}`;

  node
    .command('add <name>')
    .description('name a new node and make the one-time token that enrols it')
    .addHelpText('after', '\nExample:\n  sendense node add site-1')
    .action(async (name: string, _options: unknown, command: Command) => {
      const made = await context.api().post<EnrolmentToken>('/api/v1/nodes', { name });
      answer(context, command, made, enrolment(made));
    });

  node
    .command('token <name>')
    .description('make a new one-time token for a node (the old one stops working)')
    .addHelpText('after', '\nExample:\n  sendense node token site-1')
    .action(async (name: string, _options: unknown, command: Command) => {
      const made = await context.api().post<EnrolmentToken>(`${path(name)}/token`);
      answer(context, command, made, enrolment(made));
    });

  node
    .command('list')
    .description('nodes and whether they are connected')
    .addHelpText('after', '\nExample:\n  sendense node list')
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
    .addHelpText('after', '\nExample:\n  sendense node show site-1')
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
        ['grpc socket', found.grpc_socket],
      ]);
      answer(context, command, found, found.checks?.length ? `${head}\n\n${checks}` : head);
    });

  node
    .command('grpc <name>')
    .description('the socket of a node and the grpcurl commands for it, to run on the hub as its user')
    .addHelpText(
      'after',
      '\nExample:\n  sendense node grpc site-1\n\nExamples of every call are in docs/grpcurl.md.',
    )
    .action(async (name: string, _options: unknown, command: Command) => {
      const { state, grpc_socket: socket } = await context.api().get<NodeInfo>(path(name));
      if (!socket) throw notConnected(name, state);
      const commands = [
        'list',
        'describe sendense.node.v1.NodeService',
        'sendense.node.v1.NodeService/GetNode',
      ].map((rest) => `grpcurl -plaintext ${shellWord(`unix://${socket}`)} ${rest}`);
      // A comment, so that the whole can be pasted.
      answer(context, command, { socket, commands }, [`# ${socket}`, ...commands].join('\n'));
    });

  node
    .command('revoke <name>')
    .description('end the node’s connections and never accept its key again')
    .addHelpText('after', '\nExample:\n  sendense node revoke site-1')
    .action(async (name: string, _options: unknown, command: Command) => {
      await context.api().delete(path(name));
      answer(context, command, { name }, `Revoked ${name}.`);
    });
}

function notConnected(name: string, state: string): SendenseError {
  return new SendenseError(
    'node_offline',
    `node ${name} is ${state}, so there is no socket that leads to it: start sendense-node there, or use the node's own socket on it, node.sock in its SENDENSE_RUNTIME_DIR (/run/sendense-node)`,
    { context: { node_name: name } },
  );
}

/** As one word of a shell: the runtime directory may have any name. */
function shellWord(text: string): string {
  return /^[\w./:@%+=-]+$/.test(text) ? text : `'${text.replaceAll("'", String.raw`'\''`)}'`;
}

function enrolment(made: EnrolmentToken): string {
  return [
    `Node ${made.name} is waiting. On the node, before ${made.expires_at}, run:`,
    '',
    `  sendense-node enrol --hub HUB:443 --token-file - <<<'${made.enrolment_token}'`,
  ].join('\n');
}
