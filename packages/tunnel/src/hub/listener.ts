import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { SendenseError } from '@sendense/core';
import type { Listen, Logger } from '@sendense/runtime';

/** The hub's open port. Sockets are passed on unread. */
export class Listener implements Disposable {
  private constructor(
    private readonly server: Server,
    readonly address: Listen,
  ) {}

  /** @throws `port_in_use`, `permission_denied` (a port below 1024), `invalid_config` (no such address here) */
  static async open(
    listen: Listen,
    log: Logger,
    onSocket: (socket: Socket, remoteAddress: string) => void,
  ): Promise<Listener> {
    const server = createServer({ pauseOnConnect: true, noDelay: true }, (socket) => {
      const { remoteAddress } = socket;
      socket.on('error', () => undefined);
      if (remoteAddress === undefined) socket.destroy();
      else onSocket(socket, remoteAddress.replace(/^::ffff:/, ''));
    });
    await new Promise<void>((resolve, reject) => {
      server.once('error', (error: NodeJS.ErrnoException) => reject(notListening(listen, error)));
      server.listen(listen.port, listen.host, resolve);
    });
    server.removeAllListeners('error');
    // Out of file descriptors, most likely: those who wait in the queue are taken later.
    server.on('error', (error) => log.error({ error }, 'the tunnel cannot take a connection'));
    const { address, port } = server.address() as AddressInfo;
    return new Listener(server, { host: address, port });
  }

  /** Takes no more connections; those that were passed on are not its own any more. */
  [Symbol.dispose](): void {
    this.server.close();
  }
}

function notListening({ host, port }: Listen, error: NodeJS.ErrnoException): SendenseError {
  const where = `${host}:${port}`;
  const options = { cause: error, context: { address: where } };
  switch (error.code) {
    case 'EADDRINUSE':
      return new SendenseError(
        'port_in_use',
        `the tunnel's port ${where} is taken by another process: stop it (ss -ltnp shows which), or set SENDENSE_TUNNEL_LISTEN`,
        options,
      );
    case 'EACCES':
      return new SendenseError(
        'permission_denied',
        `this user may not listen on ${where}: ports below 1024 need CAP_NET_BIND_SERVICE, or set SENDENSE_TUNNEL_LISTEN to a higher one`,
        options,
      );
    default:
      return new SendenseError('invalid_config', `cannot listen on ${where}: ${error.message}`, options);
  }
}
