import { open, rm } from 'node:fs/promises';

/** A file that only has a descriptor. */
export interface UnlinkedFile extends AsyncDisposable {
  /** Where a child process can open it, while this process holds it. */
  readonly path: string;
}

/**
 * Hands a secret to a child process: argv and environment can be read by others, and a file by its name would be left
 * behind by a crash. This one loses its name at once and is reached through /proc, by processes of the same user.
 * nbdkit's `password=-FD` does not do: the VDDK plugin starts nbdkit anew, and the new one reads the password again.
 *
 * @param nearby a path in a private folder, whose name is used for an instant
 */
export async function unlinkedFile(nearby: string, content: string): Promise<UnlinkedFile> {
  await rm(nearby, { force: true });
  const handle = await open(nearby, 'wx+', 0o600);
  try {
    await rm(nearby);
    await handle.writeFile(content);
  } catch (error) {
    await handle.close();
    throw error;
  }
  return {
    path: `/proc/${process.pid}/fd/${handle.fd}`,
    [Symbol.asyncDispose]: () => handle.close(),
  };
}
