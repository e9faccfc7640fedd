import { Command, CommanderError } from 'commander';
import { printable, toSendenseError } from '@sendense/core';
import { versionLine } from '@sendense/runtime';
import { ApiError } from './client.js';
import { EXIT, type CommandContext } from './command-context.js';
import { addAuditCommands } from './commands/audit.js';
import { addBackupCommands } from './commands/backup.js';
import { addConfigCommands } from './commands/config.js';
import { addLoginCommands } from './commands/login.js';
import { addNodeCommands } from './commands/node.js';
import { addRepositoryCommands } from './commands/repository.js';
import { addRestorePointCommands } from './commands/restore-point.js';
import { addRetentionCommands } from './commands/retention.js';
import { addTaskCommands } from './commands/task.js';
import { addVCenterCommands } from './commands/vcenter.js';
import { addVmCommands } from './commands/vm.js';

const HELP = `
Examples:
  sendense login --url http://127.0.0.1:8082
  sendense repository list
  sendense backup start pgtest1 --repository repo-local-1795250596 --follow

Exit codes:
  0 done   1 failed   2 wrong usage   3 hub unreachable   4 not logged in or not allowed   5 not found   6 cancelled

Environment: SENDENSE_URL, SENDENSE_TOKEN (they win over what 'sendense login' stored).`;

export function makeProgram(context: CommandContext): Command {
  const program = new Command('sendense')
    .description('Backups of VMware virtual machines: the client of a Sendense hub.')
    .version(versionLine('sendense'), '--version', 'show the build')
    .option('--json', 'answer in JSON')
    .addHelpText('after', HELP)
    .showSuggestionAfterError()
    .exitOverride()
    .configureOutput({
      writeOut: (text) => context.print(text.trimEnd()),
      writeErr: (text) => context.note(text.trimEnd()),
    });
  addLoginCommands(program, context);
  addConfigCommands(program, context);
  addRepositoryCommands(program, context);
  addNodeCommands(program, context);
  addVCenterCommands(program, context);
  addVmCommands(program, context);
  addBackupCommands(program, context);
  addRestorePointCommands(program, context);
  addRetentionCommands(program, context);
  addTaskCommands(program, context);
  addAuditCommands(program, context);
  inheritSettings(program);
  return program;
}

/** Runs one command line; returns what the process should exit with. Never throws. */
export async function runProgram(context: CommandContext, args: readonly string[]): Promise<number> {
  try {
    await makeProgram(context).parseAsync([...args], { from: 'user' });
    return context.exitCode;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.done : EXIT.usage;
    return explain(context, error);
  }
}

function explain(context: CommandContext, error: unknown): number {
  if (error instanceof ApiError) {
    context.note(`sendense: ${printable(error.message)} [${error.code}]`);
    for (const [key, value] of Object.entries(error.context)) context.note(`  ${key}: ${printable(value)}`);
    if (error.status === 0) return EXIT.unreachable;
    if (error.status === 401 || error.status === 403) return EXIT.notAllowed;
    if (error.status === 404) return EXIT.notFound;
    return error.code === 'invalid_argument' ? EXIT.usage : EXIT.failed;
  }
  const known = toSendenseError(error);
  context.note(`sendense: ${printable(known.message)} [${known.code}]`);
  return known.kind === 'invalid_argument' ? EXIT.usage : EXIT.failed;
}

/** Commander does not hand these down to commands that were added before. */
function inheritSettings(program: Command): void {
  for (const command of program.commands) {
    command.copyInheritedSettings(program);
    inheritSettings(command);
  }
}
