import type { Command } from 'commander';
import { SendenseError } from '@sendense/core';
import { ApiClient } from '../client.js';
import { answer, type CommandContext } from '../command-context.js';
import { DEFAULT_URL, readConfig, storeConfig } from '../config-file.js';
import { facts } from '../output.js';
import { readSecret } from '../secret-input.js';

export function addLoginCommands(program: Command, context: CommandContext): void {
  program
    .command('login')
    .description('store the hub address and a token for this user')
    .option('--url <url>', `address of the hub (default: SENDENSE_URL, or ${DEFAULT_URL})`)
    .option('--token-file <path>', "file that holds the token; '-' reads standard input (default: asked for)")
    .addHelpText(
      'after',
      `
The first token is made on the hub itself.

Examples:
  sendense login --url https://hub.example.org
  sendense-hub token create --name admin --role admin | sendense login --token-file -`,
    )
    .action(async (options: { url?: string; tokenFile?: string }, command: Command) => {
      const url = requireUrl(options.url ?? (context.env['SENDENSE_URL'] || DEFAULT_URL));
      const token = await readSecret(context, options.tokenFile, 'Token: ');
      if (!token)
        throw new SendenseError('invalid_argument', 'no token: give --token-file, or run this on a terminal');
      await new ApiClient(url, token).get('/api/v1/repositories');
      const path = await storeConfig(context.env, { url, token });
      answer(context, command, { url, config: path }, `Logged in to ${url}; stored in ${path}.`);
    });

  program
    .command('status')
    .description("show the hub's health and what it is doing")
    .addHelpText('after', '\nExample:\n  sendense status')
    .action(async (_options: unknown, command: Command) => {
      const health = await context.api().get<{
        status: string;
        version: string;
        commit: string;
        dependencies: Record<string, { status: string; detail?: string }>;
      }>('/health');
      const { url } = readConfig(context.env);
      const dependencies = Object.entries(health.dependencies).map(
        ([name, { status, detail }]) => [name, detail ? `${status} (${detail})` : status] as const,
      );
      const shown = facts([
        ['hub', url],
        ['status', health.status],
        ['version', `${health.version} (${health.commit})`],
        ...dependencies,
      ]);
      answer(context, command, health, shown);
      if (health.status !== 'ok') context.exitCode = 1;
    });
}

/** @throws `invalid_argument` for what is no address of a web server */
function requireUrl(text: string): string {
  if (/^https?:\/\/[^/]/.test(text) && URL.canParse(text)) return text;
  throw new SendenseError(
    'invalid_argument',
    `'${text}' is not the address of a hub: give one such as ${DEFAULT_URL}`,
  );
}
