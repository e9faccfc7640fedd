import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Catalog } from '@sendense/catalog';
import { SendenseError, systemErrorCode, toSendenseError } from '@sendense/core';
import { delay, type Listen, type Logger } from '@sendense/runtime';
import { naming } from '../port-holder.js';

/** How often it is looked whether the first token was made, which happens in another process. */
const TOKEN_CHECK_MS = 2_000;
/** What requests that are being answered may still take when the hub stops. */
const DRAIN_MS = 3_000;
const IDLE_CHECK_MS = 50;

export interface ApiListener extends AsyncDisposable {
  /** Where it listens now. */
  readonly address: Listen;
}

export interface ListenOptions {
  readonly server: Server;
  readonly listen: Listen;
  readonly tokens: Pick<Catalog['tokens'], 'anyUsable'>;
  readonly log: Logger;
}

/**
 * Opens the API's port. Until a token exists nobody could use it anyway, so it stays on the loopback until then, whatever
 * the settings say.
 *
 * @throws `port_in_use` naming the process that holds the port
 */
export async function openListener({ server, listen, tokens, log }: ListenOptions): Promise<ApiListener> {
  const wide = isLoopback(listen.host) || (await tokens.anyUsable());
  const first = wide ? listen : { host: '127.0.0.1', port: listen.port };
  await bind(server, first);
  log.info({ address: addressOf(server) }, 'the API listens');
  const stop = new AbortController();
  const widening = wide ? Promise.resolve() : widen({ server, listen, tokens, log }, stop.signal);
  return {
    get address() {
      return addressOf(server);
    },
    async [Symbol.asyncDispose]() {
      stop.abort();
      await widening;
      await close(server);
    },
  };
}

/** Waits for the first token, then takes the address that was configured. */
async function widen({ server, listen, tokens, log }: ListenOptions, signal: AbortSignal): Promise<void> {
  const { port } = addressOf(server);
  log.warn(
    { configured: listen },
    "no token exists, so the API stays on the loopback: make one with 'sendense-hub token create'",
  );
  try {
    while (!(await tokens.anyUsable())) await delay(TOKEN_CHECK_MS, signal);
    server.close();
    await bind(server, { host: listen.host, port });
    log.info({ address: addressOf(server) }, 'a token exists: the API listens where it is configured to');
  } catch (error) {
    if (signal.aborted) return;
    log.error(
      { err: error },
      'the API cannot listen where it is configured to, and goes back to the loopback',
    );
    await bind(server, { host: '127.0.0.1', port }).catch((again: unknown) => {
      log.fatal({ err: again }, 'the API does not listen any more: restart the hub');
    });
  }
}

async function bind(server: Server, { host, port }: Listen): Promise<void> {
  await naming(port, 'SENDENSE_API_LISTEN', async () => {
    try {
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject);
        server.listen({ host, port }, () => {
          server.off('error', reject);
          resolve();
        });
      });
    } catch (error) {
      throw listenError(error, `${host}:${port}`);
    }
  });
}

function listenError(error: unknown, where: string): SendenseError {
  const why = toSendenseError(error).message;
  const taken = systemErrorCode(error) === 'EADDRINUSE';
  return new SendenseError(
    taken ? 'port_in_use' : 'invalid_config',
    `the API cannot listen on ${where} (${why}): correct SENDENSE_API_LISTEN`,
    { cause: error },
  );
}

async function close(server: Server): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  // A connection becomes idle when its answer is complete, and clients like to keep it.
  const idle = setInterval(() => server.closeIdleConnections(), IDLE_CHECK_MS);
  const late = setTimeout(() => server.closeAllConnections(), DRAIN_MS);
  await closed;
  clearInterval(idle);
  clearTimeout(late);
}

function addressOf(server: Server): Listen {
  const address: AddressInfo | string | null = server.address();
  if (address === null || typeof address === 'string')
    throw new SendenseError('internal', 'the API does not listen');
  return { host: address.address, port: address.port };
}

export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(host);
}
