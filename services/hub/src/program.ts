import { Command, CommanderError, Option } from 'commander';
import type { ApiRole } from '@sendense/catalog';
import { toSendenseError, type ErrorCode } from '@sendense/core';
import { versionLine } from '@sendense/runtime';
import { copyDatabase, type CopyOptions } from './commands/database.js';
import { run } from './commands/run.js';
import { createToken, listTokens, revokeToken, type Output } from './commands/tokens.js';
import { hubSettings } from './config.js';
import { EX_CONFIG, EX_IN_USE, EX_USAGE } from './exit-codes.js';

const EXIT_CODES: Partial<Record<ErrorCode, number>> = {
  invalid_config: EX_CONFIG,
  catalog_in_use: EX_IN_USE,
  data_directory_in_use: EX_IN_USE,
};

/** Runs one command line; returns what the process should exit with. */
export async function runProgram(
  args: readonly string[],
  env: NodeJS.ProcessEnv,
  output: Output,
): Promise<number> {
  let exitCode = 0;
  const program = new Command('sendense-hub')
    .description('The hub of Sendense: API, catalogue, repositories, tunnel.')
    .version(versionLine('sendense-hub'), '--version', 'show the build')
    .addHelpText('after', `\n${settingsHelp()}`)
    .showSuggestionAfterError()
    .exitOverride()
    .configureOutput({
      writeOut: (text) => output.print(text.trimEnd()),
      writeErr: (text) => output.note(text.trimEnd()),
    });
  program
    .command('run')
    .description('run the hub until it is asked to stop (SIGTERM, SIGINT)')
    .action(async () => {
      exitCode = await run(env);
    });
  addTokenCommands(program, env, output);
  addDatabaseCommands(program, env, output);
  try {
    await program.parseAsync([...args], { from: 'user' });
    return exitCode;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EX_USAGE;
    const known = toSendenseError(error);
    output.note(`sendense-hub: ${known.message} [${known.code}]`);
    return EXIT_CODES[known.code] ?? 1;
  }
}

function addTokenCommands(program: Command, env: NodeJS.ProcessEnv, output: Output): void {
  const token = program
    .command('token')
    .description('tokens of the API; works on the data directory, also while the hub runs');
  const role = new Option('--role <role>', 'what it may do').choices(['admin', 'operator', 'viewer']);
  token
    .command('create')
    .description('make a token and print it')
    .requiredOption('--name <name>', 'whose it is')
    .addOption(role.makeOptionMandatory())
    .action((options: { name: string; role: ApiRole }) => createToken(env, options, output));
  token
    .command('list')
    .description('tokens, without their secrets')
    .option('--json', 'answer in JSON', false)
    .action((options: { json: boolean }) => listTokens(env, options, output));
  token
    .command('revoke <id-or-name>')
    .description('end a token')
    .action((which: string) => revokeToken(env, which, output));
  for (const command of token.commands) command.copyInheritedSettings(program);
}

function addDatabaseCommands(program: Command, env: NodeJS.ProcessEnv, output: Output): void {
  const database = program.command('database').description('where the catalogue is');
  database
    .command('copy')
    .description('copy the catalogue into an empty database, while the hub does not run')
    .requiredOption('--from <url>', 'sqlite:/path/catalog.db or mysql://user@host:port/database')
    .requiredOption('--to <url>', 'the same')
    .option('--from-password-file <path>', 'a file whose first line is the password')
    .option('--to-password-file <path>', 'the same')
    .action((options: CopyOptions) => copyDatabase(env, options, output));
  for (const command of database.commands) command.copyInheritedSettings(program);
}

function settingsHelp(): string {
  const rows = Object.entries(hubSettings).map(([name, { description, defaultText }]) => ({
    name,
    text: defaultText === undefined ? description : `${description} (${defaultText})`,
  }));
  const width = Math.max(...rows.map(({ name }) => name.length));
  return [
    'Settings, from the environment:',
    ...rows.map(({ name, text }) => `  ${name.padEnd(width)}  ${text}`),
  ].join('\n');
}
