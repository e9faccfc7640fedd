import { realpath, stat } from 'node:fs/promises';
import { SendenseError, toSendenseError } from '@sendense/core';
import { ensureDirectory } from '@sendense/runtime';
import { describeUser, ownUser, shellQuote } from './repositories/users.js';

/**
 * A directory of the hub's own, made when it is not there, and nobody else's.
 *
 * @returns its real path
 * @throws `permission_denied` with the command that makes it, or that says who else owns it
 */
export async function ownDirectory(path: string, setting: string): Promise<string> {
  const { name, uid } = ownUser();
  try {
    await ensureDirectory(path, 0o700);
  } catch (error) {
    throw new SendenseError(
      'permission_denied',
      `${path} cannot be made (${toSendenseError(error).message}): make it with install -d -m 700 -o ${shellQuote(name)} ${shellQuote(path)}, or set ${setting}`,
      { context: { directory: path }, cause: error },
    );
  }
  const owner = (await stat(path)).uid;
  if (owner !== uid) {
    throw new SendenseError(
      'permission_denied',
      `${path} belongs to ${await describeUser(owner)}, and you are ${name}: files made now could not be used by its owner. Run this as that user (setpriv --reuid=${owner} --clear-groups), or set ${setting}`,
      { context: { directory: path } },
    );
  }
  return realpath(path);
}
