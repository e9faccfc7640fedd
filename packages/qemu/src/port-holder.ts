import { readdir, readFile, readlink } from 'node:fs/promises';
import { createServer } from 'node:net';
import { printable, SendenseError } from '@sendense/core';

const LOOPBACK = '127.0.0.1';
/** proc(5): the state of a listening socket in /proc/net/tcp. */
const LISTEN = '0A';

/**
 * Checks that a port of the loopback can be listened on now.
 * @throws `port_in_use` naming the process that holds it, when this process may know it
 */
export async function requireFreePort(port: number): Promise<void> {
  const server = createServer();
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen({ host: LOOPBACK, port, exclusive: true }, resolve);
    });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EADDRINUSE') throw await portInUse(port, error);
    throw new SendenseError(
      'port_in_use',
      `port ${port} cannot be listened on: ${(error as Error).message}`,
      {
        cause: error,
        context: { port },
      },
    );
  } finally {
    await new Promise<void>((resolve) => {
      server.close(() => resolve());
    });
  }
}

export async function portInUse(port: number, cause?: unknown): Promise<SendenseError> {
  const holder = await portHolder(port);
  const who = holder
    ? `process ${holder.pid} (${printable(holder.command)})`
    : 'a process of another user, or of another network namespace';
  return new SendenseError(
    'port_in_use',
    `port ${port} on ${LOOPBACK} is held by ${who}: stop it, or choose other ports with SENDENSE_NBD_PORTS`,
    { cause, context: { port, ...(holder ? { pid: holder.pid } : {}) } },
  );
}

/** Whether this very process is the one that listens on the port. */
export async function listensOn(pid: number, port: number): Promise<boolean> {
  return holdsSocket(pid, await listeningSockets(port));
}

/** Who listens on the port. Only processes of our own user can be seen, unless we are root. */
async function portHolder(port: number): Promise<{ pid: number; command: string } | undefined> {
  const sockets = await listeningSockets(port);
  if (sockets.size === 0) return undefined;
  for (const entry of await readdir('/proc')) {
    const pid = Number(entry);
    if (!Number.isInteger(pid) || !(await holdsSocket(pid, sockets))) continue;
    const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
    return { pid, command: command.replaceAll('\0', ' ').trim().slice(0, 200) };
  }
  return undefined;
}

async function holdsSocket(pid: number, sockets: ReadonlySet<string>): Promise<boolean> {
  const folder = `/proc/${pid}/fd`;
  try {
    for (const fd of await readdir(folder)) {
      const target = await readlink(`${folder}/${fd}`).catch(() => '');
      if (sockets.has(target)) return true;
    }
  } catch {
    // Ended meanwhile, or another user's.
  }
  return false;
}

/** The sockets that listen on the port on any address, as `socket:[inode]`, which is how /proc/PID/fd shows them. */
async function listeningSockets(port: number): Promise<Set<string>> {
  const sockets = new Set<string>();
  for (const table of ['/proc/net/tcp', '/proc/net/tcp6']) {
    const text = await readFile(table, 'latin1').catch(() => '');
    for (const line of text.split('\n').slice(1)) {
      const [, local = '', , state, , , , , , inode] = line.trim().split(/\s+/);
      const localPort = Number.parseInt(local.slice(local.lastIndexOf(':') + 1), 16);
      if (state === LISTEN && localPort === port) sockets.add(`socket:[${inode}]`);
    }
  }
  return sockets;
}
