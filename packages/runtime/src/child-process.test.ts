import { writeFileSync } from 'node:fs';
import { describe, expect, it } from '@jest/globals';
import { errorCode } from '@sendense/core';
import {
  ChildProcess,
  killOrphans,
  lockDirectory,
  processesOwnedBy,
  silentLogger as log,
  readSettings,
  integer,
} from './index.js';
import { eventually, temporaryDirectory } from './testing.js';

const options = (name: string) => ({ name, owner: `test-${process.pid}-${name}`, log });

describe('child processes', () => {
  it('ends a process that is asked to, and kills one that will not', async () => {
    const polite = await ChildProcess.spawn('sleep', ['100'], options('polite'));
    expect((await polite.terminate()).signal).toBe('SIGTERM');
    const stubborn = await ChildProcess.spawn(
      'bash',
      ['-c', 'trap "" TERM; echo ready >&2; while :; do read -t 1 < <(:); done'],
      {
        ...options('stubborn'),
        terminateTimeoutMs: 100,
      },
    );
    await eventually('the trap is set', () => stubborn.stderrTail().includes('ready'));
    expect((await stubborn.terminate()).signal).toBe('SIGKILL');
    expect(stubborn.running).toBe(false);
  });

  it('says how a process ended and what it said last', async () => {
    const dying = await ChildProcess.spawn(
      'bash',
      ['-c', 'echo "no such disk" >&2; exit 3'],
      options('dying'),
    );
    expect((await dying.exited).exitCode).toBe(3);
    expect(dying.failure('qemu_nbd_died', 'it died').message).toBe('it died (exit code 3): no such disk');
  });

  it('names a binary that is missing', async () => {
    const spawning = ChildProcess.spawn('no-such-binary', [], {
      ...options('none'),
      missingCode: 'nbdkit_missing',
    });
    await expect(spawning).rejects.toMatchObject({ code: 'nbdkit_missing' });
  });

  it('finds and ends what a killed owner left behind', async () => {
    const orphan = await ChildProcess.spawn('sleep', ['100'], options('orphan'));
    const owner = options('orphan').owner;
    expect(processesOwnedBy(owner).map((found) => found.pid)).toContain(orphan.pid);
    expect(processesOwnedBy(owner.slice(0, -1))).toEqual([]);
    await killOrphans(owner, log);
    expect((await orphan.exited).signal).toBe('SIGTERM');
    expect(processesOwnedBy(owner)).toEqual([]);
  });
});

describe('the lock of a data directory', () => {
  it('refuses a second holder by name, and lets go when released', async () => {
    using folder = temporaryDirectory();
    const holder = { service: 'sendense-hub', version: '1' };
    const script = `import { lockDirectory } from ${JSON.stringify(new URL('./index.js', import.meta.url).href)};
      lockDirectory(process.argv[2], { service: 'sendense-hub', version: '9' });
      console.error('locked'); setInterval(() => {}, 1000);`;
    writeFileSync(`${folder.path}/holder.mjs`, script);
    const other = await ChildProcess.spawn(
      process.execPath,
      [`${folder.path}/holder.mjs`, folder.path],
      options('holder'),
    );
    await eventually('the other process has the lock', () => other.stderrTail().includes('locked'));
    let refusal: unknown;
    try {
      lockDirectory(folder.path, holder);
    } catch (error) {
      refusal = error;
    }
    expect(errorCode(refusal)).toBe('data_directory_in_use');
    expect((refusal as Error).message).toContain(`process ${other.pid}`);
    process.kill(other.pid, 'SIGKILL');
    await other.exited;
    using lock = lockDirectory(folder.path, holder);
    expect(lock).toBeDefined();
  });
});

describe('settings', () => {
  it('refuses unknown names and bad values together, with what was meant', () => {
    const read = () =>
      readSettings(
        { SENDENSE_PORT: integer('a port', 1, 1, 10) },
        { env: { SENDENSE_PROT: '1', SENDENSE_PORT: 'x', HOME: '/' } },
      );
    expect(read).toThrow(
      /SENDENSE_PROT is not a setting \(did you mean SENDENSE_PORT\?\)[\s\S]*from 1 to 10, got 'x'/,
    );
  });
});
