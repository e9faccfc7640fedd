import { open } from 'node:fs/promises';
import { SendenseError } from '@sendense/core';

/** Makes the file, and never takes one that is there. @throws as {@link createFailure} says */
export async function createEmpty(path: string): Promise<void> {
  try {
    await (await open(path, 'wx', 0o640)).close();
  } catch (error) {
    throw createFailure(path, error);
  }
}

const CREATE_FIXES: Record<string, string> = {
  EEXIST: 'a file of this name is there already',
  ENOENT: 'its folder does not exist',
  ENOTDIR: 'a part of its path is not a folder',
  EACCES: 'the user that runs Sendense may not write there: change the owner or the mode of the folder',
  EPERM: 'the user that runs Sendense may not write there: change the owner or the mode of the folder',
  EROFS: 'the file system is mounted read-only',
};

/** Why an image could not be created, and what to do about it. */
export function createFailure(path: string, error: unknown): unknown {
  if (error instanceof SendenseError && error.code !== 'target_create_failed') return error;
  const { code = '', message } = error as NodeJS.ErrnoException;
  if (code === 'ENOSPC' || code === 'EDQUOT' || /No space left|quota exceeded/i.test(message)) {
    return new SendenseError('out_of_space', `the image ${path} cannot be created: no space is left there`, {
      cause: error,
      context: { path },
    });
  }
  if (error instanceof SendenseError) return error;
  const fix = CREATE_FIXES[code];
  return new SendenseError(
    'target_create_failed',
    `the image ${path} cannot be created: ${fix ?? message}${fix ? ` (${code})` : ''}`,
    { cause: error, context: { path } },
  );
}
