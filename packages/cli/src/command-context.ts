import type { Command } from 'commander';
import { ApiClient } from './client.js';
import { readConfig } from './config-file.js';
import { table, type Column } from './output.js';

/** What every command works with; made once, so that commands can be tested without a terminal. */
export interface CommandContext {
  readonly env: NodeJS.ProcessEnv;
  readonly tty: boolean;
  readonly api: () => ApiClient;
  /** Writes to stdout, with a line break. */
  readonly print: (text: string) => void;
  /** Writes to stderr, with a line break. */
  readonly note: (text: string) => void;
  /** Replaces the block of lines that was drawn last (terminals only). */
  readonly draw: (text: string) => void;
  /** Asks for one line without showing it; undefined when there is no terminal to ask on. */
  readonly askSecret: (prompt: string) => Promise<string | undefined>;
  /** Waits between two questions to the hub. */
  readonly pause: (ms: number) => Promise<void>;
  /** What the process exits with. */
  exitCode: number;
}

/** The exit codes, as `sendense --help` documents them. */
export const EXIT = {
  done: 0,
  failed: 1,
  usage: 2,
  unreachable: 3,
  notAllowed: 4,
  notFound: 5,
  cancelled: 6,
} as const;

export function apiFor(env: NodeJS.ProcessEnv): () => ApiClient {
  let client: ApiClient | undefined;
  return () => {
    const { url, token } = readConfig(env);
    client ??= new ApiClient(url, token);
    return client;
  };
}

/** Prints one answer: as JSON when `--json` was given, else as `shown`. */
export function answer(context: CommandContext, command: Command, value: unknown, shown: string): void {
  const { json } = command.optsWithGlobals<{ json?: boolean }>();
  context.print(json ? JSON.stringify(value, undefined, 2) : shown);
}

export function answerTable<T>(
  context: CommandContext,
  command: Command,
  rows: readonly T[],
  columns: readonly Column<T>[],
  none: string,
): void {
  if (rows.length === 0 && !command.optsWithGlobals<{ json?: boolean }>().json) {
    context.note(none);
    return;
  }
  answer(context, command, rows, table(rows, columns, context.tty));
}
