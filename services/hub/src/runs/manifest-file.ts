import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { SendenseError, systemErrorCode } from '@sendense/core';

/** A manifest of 1000 disks has about 2 MB. */
const MAX_MANIFEST_BYTES = 16 * 2 ** 20;

/**
 * The text of a manifest, in whose place anybody may have put something: a link is not followed, a pipe does not hold us
 * up, and what is far too long is not read.
 *
 * @throws `manifest_invalid`; the system's error when it is not there or cannot be read
 */
export async function readManifestText(path: string): Promise<string> {
  const invalid = (why: string) => new SendenseError('manifest_invalid', why, { context: { path } });
  const file = await openQuickly(path);
  if (!file) throw invalid('it is not a regular file');
  try {
    const found = await file.stat();
    if (!found.isFile()) throw invalid('it is not a regular file');
    if (found.size > MAX_MANIFEST_BYTES)
      throw invalid(`it has ${found.size} bytes, more than a manifest can have`);
    const chunks: Buffer[] = [];
    for await (const chunk of file.createReadStream({ autoClose: false, end: MAX_MANIFEST_BYTES - 1 }))
      chunks.push(chunk as Buffer);
    return Buffer.concat(chunks).toString('utf8');
  } finally {
    await file.close();
  }
}

/** Undefined for a link and for a socket. */
async function openQuickly(path: string) {
  try {
    return await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    const code = systemErrorCode(error);
    if (code === 'ELOOP' || code === 'ENXIO') return undefined;
    throw error;
  }
}
