import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { SendenseError } from '@sendense/core';
import { identifyProcess } from './process-identity.js';

/**
 * Makes this process the only one that works on a data directory. The lock is an fcntl lock that SQLite takes on
 * `<directory>/lock.db`: the kernel releases it when the process dies, however it dies, so there are no stale locks.
 * Who holds it is written beside it, for the message.
 *
 * @throws `data_directory_in_use` naming the process that holds it
 */
export function lockDirectory(
  directory: string,
  holder: { readonly service: string; readonly version: string },
): Disposable {
  const notePath = join(directory, 'lock.json');
  const database = new DatabaseSync(join(directory, 'lock.db'));
  try {
    database.exec('PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=DELETE; BEGIN EXCLUSIVE');
  } catch (error) {
    database.close();
    const note = readNote(notePath);
    throw new SendenseError(
      'data_directory_in_use',
      note
        ? `${directory} is in use by ${note.service} ${note.version}, process ${note.pid} on ${note.host} since ${note.since}: stop it first, or use another data directory`
        : `${directory} is in use by another process: stop it first, or use another data directory`,
      { cause: error, context: { directory, ...(note ? { pid: note.pid } : {}) } },
    );
  }
  const identity = identifyProcess(process.pid);
  writeFileSync(
    notePath,
    `${JSON.stringify({ ...holder, pid: process.pid, host: identity?.host ?? '', since: new Date().toISOString() })}\n`,
  );
  return {
    [Symbol.dispose]() {
      if (database.isOpen) database.close();
    },
  };
}

function readNote(
  path: string,
): { service: string; version: string; pid: number; host: string; since: string } | undefined {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as ReturnType<typeof readNote>;
  } catch {
    return undefined;
  }
}
