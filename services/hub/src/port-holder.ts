import { readdir, readFile, readlink } from 'node:fs/promises';
import { errorCode, SendenseError } from '@sendense/core';

/** proc_net_tcp: state 0A is TCP_LISTEN. */
const LISTEN_STATE = '0A';

/**
 * Who listens on a TCP port of this host: `process 4711 (sendense-hub run)`. Only processes of our own user can be seen,
 * unless we are root; undefined when there is none to be seen.
 */
export async function portHolder(port: number): Promise<string | undefined> {
  const sockets = new Set([
    ...(await listeningSockets('/proc/net/tcp', port)),
    ...(await listeningSockets('/proc/net/tcp6', port)),
  ]);
  if (sockets.size === 0) return undefined;
  for (const entry of await readdir('/proc')) {
    if (/^\d+$/.test(entry) && (await holdsAny(entry, sockets)))
      return `process ${entry} (${await commandOf(entry)})`;
  }
  return undefined;
}

async function listeningSockets(table: string, port: number): Promise<string[]> {
  const wanted = port.toString(16).toUpperCase().padStart(4, '0');
  const lines = await readFile(table, 'utf8').catch(() => '');
  return lines.split('\n').flatMap((line) => {
    // sl, local_address, rem_address, st, tx:rx, tr:when, retrnsmt, uid, timeout, inode
    const fields = line.trim().split(/\s+/);
    const [, local, , state] = fields;
    if (state !== LISTEN_STATE || !local?.endsWith(`:${wanted}`)) return [];
    return [`socket:[${fields[9]}]`];
  });
}

async function holdsAny(pid: string, sockets: ReadonlySet<string>): Promise<boolean> {
  const descriptors = await readdir(`/proc/${pid}/fd`).catch(() => []);
  for (const descriptor of descriptors) {
    const target = await readlink(`/proc/${pid}/fd/${descriptor}`).catch(() => '');
    if (sockets.has(target)) return true;
  }
  return false;
}

/** The last part of the program's path and its first argument: enough to recognise it, and no secrets. */
async function commandOf(pid: string): Promise<string> {
  const commandLine = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
  const parts = commandLine.split('\0').filter((part) => part !== '' && !part.startsWith('-'));
  const names = parts.slice(0, 3).map((part) => part.slice(part.lastIndexOf('/') + 1));
  return names.join(' ') || 'unknown program';
}

/** Opens a port; when it is taken, the error names the process that holds it and the setting that can be changed. */
export async function naming<T>(port: number, setting: string, open: () => Promise<T>): Promise<T> {
  try {
    return await open();
  } catch (error) {
    if (errorCode(error) !== 'port_in_use') throw error;
    const holder = (await portHolder(port)) ?? 'a process of another user (run as root to see which)';
    throw new SendenseError(
      'port_in_use',
      `port ${port} is taken: ${holder} listens on it. Stop it, or set ${setting}`,
      { context: { port, holder }, cause: error },
    );
  }
}
