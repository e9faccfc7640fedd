import { rename, writeFile } from 'node:fs/promises';

let next = 0;

/**
 * Replaces a file so that a reader, or the next start of a lab that was killed, finds the old or the new content, whole.
 * Unlike the runtime's writeFileAtomically it does not wait for the disk: a lab need not survive a power cut, and snapshots
 * should take as long as they are told to.
 */
export async function replaceFile(path: string, content: string, mode = 0o644): Promise<void> {
  const temporary = `${path}.${process.pid}-${next++}.partial`;
  await writeFile(temporary, content, { mode });
  await rename(temporary, path);
}
