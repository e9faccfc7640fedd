import { Option, type Command } from 'commander';
import { commandLab } from '../control/control-client.js';
import type { CommandName, Commands } from '../control/commands.js';

/** The directory of the lab that a command is for. */
export function directoryOption(): Option {
  return new Option('-d, --dir <directory>', 'the directory of the lab').env('LAB_DIR').makeOptionMandatory();
}

interface Common {
  readonly dir: string;
  readonly json?: boolean;
}

interface LabCommand<Options> {
  /** For adding its own options. */
  readonly command: Command;
  /** @param show turns the answer into text for people; without it a command says nothing when it succeeds */
  answers<Name extends CommandName>(
    name: Name,
    input: (values: readonly string[], options: Options) => Commands[Name],
    show?: (answer: never) => string,
  ): void;
}

/** A command for a running lab, with the options that the caller adds to it. */
export function labCommand<Options = unknown>(
  parent: Command,
  nameAndArguments: string,
  description: string,
  example: string,
): LabCommand<Options> {
  const command = parent
    .command(nameAndArguments)
    .description(description)
    .addOption(directoryOption())
    .option('--json', 'print the answer as JSON')
    .addHelpText('after', `\nExample:\n  sendense-lab ${example}`);
  return {
    command,
    answers: (name, input, show) => {
      command.action(async () => {
        const options = command.opts<Common & Options>();
        const answer = await commandLab(options.dir, name, input(command.processedArgs as string[], options));
        if (options.json) process.stdout.write(`${JSON.stringify(answer ?? {})}\n`);
        else if (show) process.stdout.write(show(answer as never));
      });
    },
  };
}
