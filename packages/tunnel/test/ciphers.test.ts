import { expect, test } from '@jest/globals';
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const PROGRAM = fileURLToPath(new URL('short-lived-ciphers.js', import.meta.url));

test('connections that end at once do not abort the process when V8 collects their ciphers', async () => {
  const { stdout } = await promisify(execFile)(process.execPath, [PROGRAM]);
  expect(stdout).toBe('alive\n');
});
