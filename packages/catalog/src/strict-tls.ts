import { createRequire } from 'node:module';
import type { ConnectionOptions, TLSSocket } from 'node:tls';

// The driver (mariadb 3.4.5, lib/connection.js, createSecureContext) lets every certificate of a MariaDB server pass, logs in,
// and then lets the server prove with the password that the certificate is its own. Until then the answer to the server's
// challenge, or with some plug-ins the password itself, has been given to whoever answered; and whoever knows the password
// need not have a certificate of the authority that was configured. There is no setting against it, so this is changed inside
// the driver, whose version is pinned for that (as ssh2's: docs/decisions/0010-inside-ssh2.md).

interface DriverConnection {
  readonly opts: { readonly ssl?: ConnectionOptions | boolean };
  readonly socket: TLSSocket;
  createSecureContext: (this: DriverConnection, info: unknown, connected: () => void) => void;
  socketErrorHandler(error: Error): void;
}

let done = false;

/** From now on a connection for which `rejectUnauthorized` is set ends before anything is said to an unproven server. */
export function insistOnCertificates(): void {
  if (done) return;
  done = true;
  const { prototype } = createRequire(import.meta.url)('mariadb/lib/connection.js') as {
    prototype: DriverConnection;
  };
  const { createSecureContext } = prototype;
  prototype.createSecureContext = function (info, connected) {
    createSecureContext.call(this, info, () => {
      const { socket, opts } = this;
      const must = typeof opts.ssl === 'object' && opts.ssl.rejectUnauthorized !== false;
      if (!must || socket.authorized) return connected();
      const why = String(socket.authorizationError);
      const error = new Error(`the certificate of the server is not accepted (${why})`);
      this.socketErrorHandler(Object.assign(error, { code: 'CERTIFICATE', errno: -1 }));
      socket.destroy();
    });
  };
}
