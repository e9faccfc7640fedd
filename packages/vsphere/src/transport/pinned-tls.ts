import { Agent } from 'node:https';
import { isIP } from 'node:net';
import type { Duplex } from 'node:stream';
import { connect, type TLSSocket } from 'node:tls';
import { callbackify } from 'node:util';
import type { Thumbprints } from '../types.js';
import { parseEndpoint, type Endpoint } from './endpoint.js';
import { protocolFailure, transportFailure, unreachable } from './failures.js';
import { checkPin, thumbprintsOf, type Pin } from './thumbprints.js';

/** Long enough for a slow link, short enough to name a dead vCenter within 10 s. */
const CONNECT_TIMEOUT_MS = 8000;

export interface SecureConnection {
  readonly socket: TLSSocket;
  readonly thumbprints: Thumbprints;
}

/**
 * Shakes hands and returns before a byte of ours has gone out. Whose certificate it is, the caller must check: none is
 * refused here.
 */
async function handshake(
  endpoint: Endpoint,
  timeoutMs: number,
  signal?: AbortSignal,
): Promise<SecureConnection> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const socket = connect({
    host: endpoint.host,
    port: endpoint.port,
    ...(isIP(endpoint.host) ? {} : { servername: endpoint.host }),
    ALPNProtocols: ['http/1.1'],
    minVersion: 'TLSv1.2',
    // The pin takes the place of the certificate authorities.
    rejectUnauthorized: false,
  });
  const late = setTimeout(() => {
    reject(unreachable(endpoint, `no connection within ${timeoutMs / 1000} s`));
  }, timeoutMs);
  const aborted = () => {
    reject(new Error('aborted'));
  };
  const closed = () => {
    reject(unreachable(endpoint, 'it closed the connection during the TLS handshake'));
  };
  signal?.addEventListener('abort', aborted, { once: true });
  socket.once('secureConnect', resolve).once('close', closed);
  // Stays: between this handshake and its first user nobody else would listen, and such an error must not end the process.
  socket.on('error', reject);
  try {
    if (signal?.aborted) aborted();
    await promise;
    const certificate = socket.getPeerCertificate();
    if (!certificate.fingerprint256) throw protocolFailure(endpoint, 'it presents no certificate');
    return { socket, thumbprints: thumbprintsOf(certificate) };
  } catch (error) {
    socket.destroy();
    throw transportFailure(endpoint, error, signal);
  } finally {
    clearTimeout(late);
    socket.off('close', closed);
    signal?.removeEventListener('abort', aborted);
  }
}

/** The certificate that an endpoint presents, for a person to confirm. Nothing is sent. @throws `vcenter_unreachable` */
export async function fetchThumbprints(endpoint: string, signal?: AbortSignal): Promise<Thumbprints> {
  const { socket, thumbprints } = await handshake(parseEndpoint(endpoint), CONNECT_TIMEOUT_MS, signal);
  socket.destroy();
  return thumbprints;
}

/** Connections that are kept for the next call, each to the pinned certificate only. */
export class PinnedAgent extends Agent {
  #thumbprints: Thumbprints | undefined;

  constructor(
    private readonly endpoint: Endpoint,
    private readonly pin: Pin | undefined,
    private readonly limits: {
      readonly timeoutMs: number;
      readonly closed: AbortSignal;
      readonly keep: boolean;
    },
  ) {
    super({ keepAlive: limits.keep });
  }

  /** Of the certificate that passed the check last. */
  get thumbprints(): Thumbprints | undefined {
    return this.#thumbprints;
  }

  override createConnection(
    _options: object,
    callback?: (error: Error | null, stream: Duplex) => void,
  ): Duplex | null | undefined {
    callbackify(async () => this.#connect())((error, socket) => callback?.(error, socket));
    return undefined;
  }

  async #connect(): Promise<TLSSocket> {
    const timeoutMs = Math.min(this.limits.timeoutMs, CONNECT_TIMEOUT_MS);
    const { socket, thumbprints } = await handshake(this.endpoint, timeoutMs, this.limits.closed);
    try {
      checkPin(this.endpoint, this.pin, thumbprints);
    } catch (error) {
      socket.destroy();
      throw error;
    }
    this.#thumbprints = thumbprints;
    return socket;
  }
}
