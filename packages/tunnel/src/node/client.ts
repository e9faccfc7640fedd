import { connect, type Socket } from 'node:net';
import { SendenseError, toSendenseError } from '@sendense/core';
import { delay, type Logger } from '@sendense/runtime';
import { formatTunnelUser, NODE_API_NAME } from '../names.js';
import type { Channel } from '../ssh/library.js';
import { Relay } from '../ssh/relay.js';
import { Backoff } from './backoff.js';
import { connectToHub, lostError, type HubConnection } from './connect.js';
import type { HubAddress } from './hub-address.js';
import { DEFAULT_TIMING, type TunnelTiming } from './timing.js';

export type TunnelClientState = 'connecting' | 'connected' | 'waiting';

export interface TunnelClientOptions {
  readonly hub: HubAddress;
  readonly nodeName: string;
  readonly privateKeyPem: string;
  /** The node's gRPC server: the hub's channels are connected to it. */
  readonly apiSocketPath: string;
  readonly log: Logger;
  /** `detail`: for `waiting`, why, and what to do about it when waiting will not help. */
  readonly onState?: (state: TunnelClientState, detail?: string) => void;
  readonly timing?: Partial<TunnelTiming>;
}

export interface TunnelClient extends AsyncDisposable {
  readonly state: TunnelClientState;
  readonly detail: string | undefined;
}

/** Keeps one control connection to the hub open until it is disposed of, reconnecting by itself. */
export function startTunnelClient(options: TunnelClientOptions): TunnelClient {
  return new ControlClient(options);
}

class ControlClient implements TunnelClient {
  readonly #stop = new AbortController();
  readonly #timing: TunnelTiming;
  readonly #running: Promise<void>;
  #connectedAt: number | undefined;
  state: TunnelClientState = 'connecting';
  detail: string | undefined;

  constructor(private readonly options: TunnelClientOptions) {
    this.#timing = { ...DEFAULT_TIMING, ...options.timing };
    this.#running = this.#run();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new SendenseError('shutting_down', 'the tunnel client is shutting down'));
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    const backoff = new Backoff(this.#timing);
    while (!signal.aborted) {
      this.#enter('connecting');
      this.#connectedAt = undefined;
      const error = await this.#serveOnce().catch((error: unknown) => toSendenseError(error));
      if (signal.aborted || error === undefined) return;
      const lastedMs = this.#connectedAt === undefined ? 0 : performance.now() - this.#connectedAt;
      const waitMs = backoff.next({ lastedMs, retryable: error.retryable });
      this.options.log.warn({ code: error.code, retryInMs: waitMs }, error.message);
      this.#enter('waiting', error.message);
      await delay(waitMs, signal).catch(() => undefined);
    }
  }

  /** One connection, from connecting to its end. @returns why it ended, undefined when we ended it */
  async #serveOnce(): Promise<SendenseError | undefined> {
    const { hub, nodeName, privateKeyPem } = this.options;
    const { signal } = this.#stop;
    await using connection = await connectToHub({
      hub,
      user: formatTunnelUser({ nodeName, jobId: undefined }),
      steps: [{ type: 'publickey', key: privateKeyPem }],
      timing: this.#timing,
      signal,
    });
    connection.ssh.on('unix connection', (_info, accept, reject) => {
      void this.#serveChannel(connection, accept, reject);
    });
    const stopped = new Promise<undefined>((resolve) => {
      signal.addEventListener('abort', () => resolve(undefined), { once: true });
      // Perhaps while the hub answered.
      if (signal.aborted) resolve(undefined);
    });
    // A hub that is gone without a word does not answer: stopping does not wait until that is noticed.
    await Promise.race([this.#offerApi(connection), stopped]);
    if (signal.aborted) return undefined;
    this.#connectedAt = performance.now();
    this.#enter('connected');
    return await Promise.race([connection.lost, stopped]);
  }

  async #offerApi({ ssh, lost }: HubConnection): Promise<void> {
    const { hub } = this.options;
    const offered = new Promise<SendenseError | undefined>((resolve) => {
      ssh.openssh_forwardInStreamLocal(NODE_API_NAME, (error?: Error | null) => {
        resolve(error ? lostError(hub, 'does not take this node’s API: see the hub’s log') : undefined);
      });
    });
    const error = await Promise.race([offered, lost]);
    if (error) throw error;
  }

  async #serveChannel(connection: HubConnection, accept: () => Channel, reject: () => void): Promise<void> {
    const local = connect({ path: this.options.apiSocketPath, allowHalfOpen: true });
    const error = await connectionError(local);
    if (error) {
      this.options.log.error({ error: error.message }, 'the node’s own API cannot be reached');
      reject();
      return;
    }
    const relay = new Relay(accept(), local, connection.carrier, { fromPeerBytes: 0, toPeerBytes: 0 });
    void connection.lost.then(() => relay.finish());
    await relay.closed;
  }

  #enter(state: TunnelClientState, detail?: string): void {
    this.state = state;
    this.detail = detail;
    this.options.log.debug({ state, detail }, 'tunnel');
    this.options.onState?.(state, detail);
  }
}

async function connectionError(socket: Socket): Promise<Error | undefined> {
  return new Promise((resolve) => {
    socket.once('connect', () => resolve(undefined));
    socket.on('error', (error) => resolve(error));
  });
}
