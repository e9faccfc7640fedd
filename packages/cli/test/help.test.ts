import { describe, expect, it } from '@jest/globals';
import type { Command } from 'commander';
import { ApiClient } from '../src/client.js';
import type { CommandContext } from '../src/command-context.js';
import { makeProgram } from '../src/program.js';

function program(): { readonly all: Command[]; readonly printed: string[] } {
  const printed: string[] = [];
  const context: CommandContext = {
    env: {},
    tty: false,
    api: () => new ApiClient('http://127.0.0.1:1', undefined),
    print: (text) => printed.push(text),
    note: (text) => printed.push(text),
    draw: () => undefined,
    askSecret: () => Promise.resolve(undefined),
    pause: () => Promise.resolve(),
    exitCode: 0,
  };
  const below = (command: Command): Command[] => [command, ...command.commands.flatMap(below)];
  return { all: below(makeProgram(context)), printed };
}

const nameOf = (command: Command): string =>
  command.parent ? `${nameOf(command.parent)} ${command.name()}` : command.name();

function helpOf(name: string): string {
  const { all, printed } = program();
  all.find((command) => nameOf(command) === name)?.outputHelp();
  return printed.join('\n');
}

describe.each(program().all.map(nameOf))('%s --help', (name) => {
  const [, lines = ''] = helpOf(name).split(/^Examples?:$/m);
  const examples = [...lines.matchAll(/^ {2}(.*\bsendense (?:.*\\\n)*.*)$/gm)].map(([, line = '']) => line);

  it('has an example of this very command', () => {
    expect(examples.join('\n')).toContain(`${name} `.trimEnd());
  });

  it.each(examples)('shows what can be typed: %s', async (example) => {
    const words = (example.split(/\bsendense (?!-)/).at(-1) ?? '')
      .replaceAll('\\\n', ' ')
      .match(/'[^']*'|\S+/g)!
      .map((word) => word.replaceAll("'", ''));
    const { all, printed } = program();
    let done = '';
    for (const command of all.filter(({ commands }) => commands.length === 0))
      command.action(() => void (done = nameOf(command)));
    await all[0]!.parseAsync(words, { from: 'user' }).catch((error: Error) => printed.push(error.message));
    expect([`sendense ${words.join(' ')}`, printed]).toEqual([expect.stringContaining(done), []]);
    expect(done).not.toBe('');
  });
});
