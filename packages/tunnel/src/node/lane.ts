import type { Duplex } from 'node:stream';
import { SendenseError, throwIfAborted } from '@sendense/core';
import { delay, type Logger } from '@sendense/runtime';
import { formatTunnelUser } from '../names.js';
import type { Channel } from '../ssh/library.js';
import { Backoff } from './backoff.js';
import { connectToHub, where, type HubConnection } from './connect.js';
import type { HubAddress } from './hub-address.js';
import { PortStream } from './port-stream.js';
import { DEFAULT_TIMING, type TunnelTiming } from './timing.js';

/** A hub whose door is crowded, or whose workers are being started again, is back within a moment. */
const ATTEMPTS = 3;

export interface LaneOptions {
  readonly hub: HubAddress;
  readonly nodeName: string;
  readonly jobId: string;
  readonly privateKeyPem: string;
  readonly log: Logger;
  /** Ends the connecting; an open lane is ended by disposing of it. */
  readonly signal?: AbortSignal;
  readonly timing?: Partial<TunnelTiming>;
}

/** One SSH connection of a backup, bound to its job. */
export interface Lane extends AsyncDisposable {
  /**
   * A byte stream to a port that the hub leased to the job. Half-closing works in both directions; a lost lane destroys
   * the stream with `tunnel_lost`.
   *
   * @throws `permission_denied` when the hub does not let the job have the port, `tunnel_lost`, `cancelled`
   */
  openPort(port: number, signal?: AbortSignal): Promise<Duplex>;
  /** Resolves when the lane has ended; undefined when it was disposed of. */
  readonly lost: Promise<SendenseError | undefined>;
}

/** @throws `host_key_mismatch`, `permission_denied` (key or job refused), `tunnel_lost`, `cancelled` */
export async function openLane(options: LaneOptions): Promise<Lane> {
  const { hub, nodeName, jobId, privateKeyPem, signal, log } = options;
  const timing = { ...DEFAULT_TIMING, ...options.timing };
  const backoff = new Backoff(timing);
  for (let attempt = 1; ; attempt++) {
    try {
      const connection = await connectToHub({
        hub,
        user: formatTunnelUser({ nodeName, jobId }),
        steps: [{ type: 'publickey', key: privateKeyPem }],
        timing,
        ...(signal ? { signal } : {}),
      });
      return new SshLane(connection, options);
    } catch (error) {
      if (!(error instanceof SendenseError) || !error.retryable || attempt === ATTEMPTS) throw error;
      log.debug({ attempt, error: error.message }, 'lane did not open');
      await delay(backoff.next({ lastedMs: 0, retryable: true }), signal);
    }
  }
}

class SshLane implements Lane {
  constructor(
    private readonly connection: HubConnection,
    private readonly options: LaneOptions,
  ) {}

  get lost(): Promise<SendenseError | undefined> {
    return this.connection.lost;
  }

  async openPort(port: number, signal?: AbortSignal): Promise<Duplex> {
    throwIfAborted(signal);
    const { carrier, lost } = this.connection;
    const channel = await this.#openChannel(port, signal);
    return new PortStream(channel, carrier, lost);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.connection[Symbol.asyncDispose]();
  }

  async #openChannel(port: number, signal: AbortSignal | undefined): Promise<Channel> {
    const { hub, jobId } = this.options;
    return new Promise((resolve, reject) => {
      let waiting = true;
      const settle = (error: SendenseError) => {
        waiting = false;
        signal?.removeEventListener('abort', abort);
        reject(error);
      };
      const abort = () => settle(new SendenseError('cancelled', `opening port ${port} was cancelled`));
      const refused = () =>
        new SendenseError(
          'permission_denied',
          `the hub ${where(hub)} did not open port ${port} for ${jobId}: the job does not hold it (any more), or its qemu-nbd has ended`,
          { context: { jobId, port } },
        );
      signal?.addEventListener('abort', abort, { once: true });
      void this.connection.lost.then((error) => {
        if (waiting) settle(error ?? new SendenseError('cancelled', 'the lane was closed'));
      });
      try {
        this.connection.ssh.forwardOut('127.0.0.1', 0, '127.0.0.1', port, (error, channel) => {
          if (!waiting) channel?.close();
          else if (error) settle(refused());
          else {
            waiting = false;
            signal?.removeEventListener('abort', abort);
            resolve(channel);
          }
        });
      } catch {
        // Not connected any more: `lost` says why, and settles this.
      }
    });
  }
}
