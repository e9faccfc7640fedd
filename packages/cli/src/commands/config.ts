import type { Command } from 'commander';
import { answer, type CommandContext } from '../command-context.js';
import { configPath, readConfig, type Source } from '../config-file.js';
import { table } from '../output.js';

export function addConfigCommands(program: Command, context: CommandContext): void {
  program
    .command('config')
    .description('show which hub this CLI talks to, and where that is set (never the token itself)')
    .addHelpText('after', '\nExample:\n  SENDENSE_URL=http://hub.example:8082 sendense config')
    .action((_options: unknown, command: Command) => {
      const file = configPath(context.env);
      const { url, urlFrom, token, tokenFrom } = readConfig(context.env);
      const rows: readonly { setting: string; value: string; from?: Source | undefined }[] = [
        { setting: 'config file', value: file },
        { setting: 'hub', value: url, from: urlFrom },
        { setting: 'token', value: token === undefined ? 'not set' : 'set', from: tokenFrom },
      ];
      const shown = table(
        rows,
        [
          { title: 'SETTING', value: (row) => row.setting },
          { title: 'VALUE', value: (row) => row.value },
          { title: 'FROM', value: ({ from }) => from && FROM[from] },
        ],
        context.tty,
      );
      const value = {
        ...{ config: file, url, url_from: urlFrom },
        ...{ token_set: token !== undefined, token_from: tokenFrom ?? null },
      };
      answer(context, command, value, shown);
    });
}

const FROM: Readonly<Record<Source, string>> = {
  environment: 'the environment',
  login: 'sendense login',
  default: 'the default',
};
