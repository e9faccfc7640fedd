import { readFileSync } from 'node:fs';
import { SendenseError } from '@sendense/core';
import type { CommandContext } from './command-context.js';

/** A secret from a file (`-`: standard input), or asked for on the terminal; never from the command line, which is public. */
export async function readSecret(
  context: CommandContext,
  file: string | undefined,
  prompt: string,
): Promise<string | undefined> {
  if (file === undefined) return context.askSecret(prompt);
  try {
    return readFileSync(file === '-' ? 0 : file, 'utf8').replace(/\r?\n$/, '');
  } catch (error) {
    throw new SendenseError('invalid_argument', `${file} cannot be read: ${(error as Error).message}`, {
      cause: error,
    });
  }
}
