import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { SendenseError, systemErrorCode } from '@sendense/core';
import { writeFileAtomically } from '@sendense/runtime';
import { generateEd25519Key } from '@sendense/tunnel';

/** In the data directory. Nodes pin its fingerprint when they are enrolled: losing it means enrolling them again. */
export const HOST_KEY_FILE = 'tunnel_host_ed25519';

/**
 * The tunnel's host key, made at the first start.
 *
 * @throws `permission_denied` when others could have read it
 */
export async function hostKey(dataDirectory: string): Promise<string> {
  const path = join(dataDirectory, HOST_KEY_FILE);
  const found = await stat(path).catch((error: unknown) => {
    if (systemErrorCode(error) === 'ENOENT') return undefined;
    throw error;
  });
  if (!found) {
    const { privateKeyPem } = generateEd25519Key();
    await writeFileAtomically(path, privateKeyPem, 0o600);
    return privateKeyPem;
  }
  if ((found.mode & 0o077) !== 0) {
    const mode = (found.mode & 0o777).toString(8).padStart(4, '0');
    throw new SendenseError(
      'permission_denied',
      `the tunnel's host key ${path} can be read by others (mode ${mode}): if nobody did, run chmod 600 ${path}; otherwise remove it and enrol every node again`,
      { context: { path } },
    );
  }
  return readFile(path, 'utf8');
}
