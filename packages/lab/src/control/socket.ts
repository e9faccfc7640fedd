import { join, resolve } from 'node:path';
import { SendenseError } from '@sendense/core';

/** The longest path that a unix socket can have (sun_path, unix(7), without its end). */
const LONGEST_PATH_BYTES = 107;

/** @throws `invalid_config` when the directory's path is too long */
export function controlSocketPath(directory: string): string {
  const path = join(resolve(directory), 'control.sock');
  if (Buffer.byteLength(path) <= LONGEST_PATH_BYTES) return path;
  throw new SendenseError(
    'invalid_config',
    `${path} is too long for a unix socket (${LONGEST_PATH_BYTES} bytes at most): use a directory with a shorter path`,
  );
}
