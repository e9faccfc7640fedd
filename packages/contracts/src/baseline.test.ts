import { execFile } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';

const ROOT = join(import.meta.dirname, '../../../..');

describe('the check of the contracts', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'proto-'));
    cpSync(join(ROOT, 'proto'), folder, { recursive: true });
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  function check(...args: string[]): Promise<{ readonly passed: boolean; readonly said: string }> {
    const command = [join(ROOT, 'tools/check-breaking.mjs'), ...args, folder];
    return new Promise((resolve) =>
      execFile(process.execPath, command, (error, stdout, stderr) =>
        resolve({ passed: error === null, said: stdout + stderr }),
      ),
    );
  }

  function edit(before: string | RegExp, after: string): void {
    const path = join(folder, 'sendense/common/v1/error.proto');
    const text = readFileSync(path, 'utf8');
    expect(text).toMatch(before);
    writeFileSync(path, text.replace(before, after));
  }

  it('passes as they are, whatever their comments say', async () => {
    edit('message ErrorDetail', '// Another word.\nmessage ErrorDetail');
    expect(await check()).toEqual({ passed: true, said: '' });
  });

  it('refuses what breaks until it is accepted as a break', async () => {
    edit('string message = 2', 'bytes message = 2');
    const refused = { passed: false, said: expect.stringMatching(/ErrorDetail[^]*accept-contracts --break/) };
    expect(await check()).toEqual(refused);
    expect(await check('--accept')).toEqual(refused);
    expect(await check()).toEqual(refused);
    expect(await check('--accept', '--break')).toMatchObject({ passed: true });
    expect(await check()).toEqual({ passed: true, said: '' });
  });

  it('wants what was added in the baseline, so that taking it away later is seen', async () => {
    edit('string message = 2;', 'string message = 2;\n  string more = 99;');
    const grown = await check();
    expect(grown).toEqual({ passed: false, said: expect.stringContaining('take that into the baseline') });
    expect(await check('--accept')).toMatchObject({ passed: true });
    expect(await check()).toEqual({ passed: true, said: '' });
    edit(/\n {2}string more = 99;/, '');
    expect(await check()).toMatchObject({ passed: false, said: expect.stringContaining('"more"') });
  });

  it('does not pass when there is nothing to compare with', async () => {
    rmSync(join(folder, 'baseline.binpb'));
    expect(await check()).toEqual({
      passed: false,
      said: expect.stringMatching(/nothing to compare with: .*baseline\.binpb is missing/),
    });
  });
});
