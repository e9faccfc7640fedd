import { describe, expect, it } from '@jest/globals';
import { ApiError, type ApiClient } from './client.js';
import type { CommandContext } from './command-context.js';
import { runProgram } from './program.js';

/** @returns the exit code of a command that the hub answers with this error */
function exitCodeFor(status: number, code: string): Promise<number> {
  const context: CommandContext = {
    env: {},
    tty: false,
    api: (): ApiClient => {
      throw new ApiError(status, code, 'it says why', {});
    },
    print: () => undefined,
    note: () => undefined,
    draw: () => undefined,
    askSecret: () => Promise.resolve(undefined),
    pause: () => Promise.resolve(),
    exitCode: 0,
  };
  return runProgram(context, ['backup', 'list']);
}

describe('the exit code', () => {
  it.each([
    [400, 'invalid_argument', 2],
    [0, 'hub_unreachable', 3],
    [401, 'unauthenticated', 4],
    [403, 'permission_denied', 4],
    [404, 'job_not_found', 5],
    [409, 'conflict', 1],
    [500, 'internal', 1],
  ])('for HTTP %s %s is %s, as --help says', async (status, code, expected) => {
    expect(await exitCodeFor(status, code)).toBe(expected);
  });
});
