import type { Command } from 'commander';
import { toSendenseError } from '@sendense/core';
import type { Setting } from '@sendense/runtime';

/** Runs a program to its end: a failure is one line on stderr; the exit code is 2 for a wrong call or setting, else 1. */
export async function runProgram(program: Command): Promise<void> {
  try {
    await program.parseAsync();
  } catch (thrown) {
    const error = toSendenseError(thrown);
    process.stderr.write(`${program.name()}: ${error.message} [${error.code}]\n`);
    process.exitCode = error.kind === 'invalid_argument' ? 2 : 1;
  }
}

/** The table of settings for `--help`. */
export function settingsHelp(settings: Readonly<Record<string, Setting<unknown>>>): string {
  const rows = Object.entries(settings).map(([name, { description, defaultText }]) => {
    const standard = defaultText === undefined ? '' : ` (default: ${defaultText})`;
    return `  ${name.padEnd(28)}  ${description}${standard}`;
  });
  return `\nSettings, from the environment:\n${rows.join('\n')}`;
}
