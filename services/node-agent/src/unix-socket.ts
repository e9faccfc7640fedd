import { lstat, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { SendenseError } from '@sendense/core';

/** unix(7): sun_path holds 108 bytes, the last of them 0. */
const MAX_SOCKET_PATH_BYTES = 107;

/** @throws `invalid_config` when the kernel would refuse, or silently cut, the path */
export function checkSocketPath(path: string, setting: string): void {
  const length = Buffer.byteLength(path);
  if (length <= MAX_SOCKET_PATH_BYTES) return;
  throw new SendenseError(
    'invalid_config',
    `${setting} is too long: the socket ${path} would take ${length} bytes, and ${MAX_SOCKET_PATH_BYTES} are possible. Use a shorter path`,
  );
}

/**
 * Removes the socket that a killed process left behind.
 *
 * @throws `conflict` when a living process answers on it, or when it is no socket
 */
export async function removeStaleSocket(path: string): Promise<void> {
  const found = await lstat(path).catch(() => undefined);
  if (!found) return;
  if (!found.isSocket()) {
    throw new SendenseError('conflict', `${path} is not a socket: move it away`, { context: { path } });
  }
  if (await isAnswered(path)) {
    throw new SendenseError(
      'conflict',
      `another process answers on ${path}: stop it, or set another SENDENSE_RUNTIME_DIR`,
      { context: { path } },
    );
  }
  await rm(path, { force: true });
}

/** Whether a process listens on a unix socket now. */
export async function isAnswered(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}
