import { createServer, type Server, type Socket } from 'node:net';
import type { Decision } from '../hub/policy.js';
import { NODE_API_NAME } from '../names.js';
import type { Channel, SshConnection } from '../ssh/library.js';
import type { Relay } from '../ssh/relay.js';
import { startRelay, type Peer } from './peer.js';

/** How long a node may take to answer that its gRPC server takes a connection. */
const OPEN_TIMEOUT_MS = 10_000;

/**
 * The reverse direction: a unix socket of the hub, each of whose connections becomes a channel to the node's gRPC
 * server. It exists while the control connection does. The worker binds it under a name that the hub process chose
 * and then moves to its real place: closing a listener removes the file of the name it was bound to, which must not be
 * the socket of a newer connection.
 */
export class NodeApi {
  readonly #locals = new Set<Socket>();
  readonly #relays = new Set<Relay>();
  #listener: Server | undefined;

  constructor(
    private readonly peer: Peer,
    private readonly ssh: SshConnection,
  ) {}

  get serving(): boolean {
    return this.#listener !== undefined;
  }

  get unreadBytes(): number {
    let most = 0;
    for (const relay of this.#relays) most = Math.max(most, relay.unreadBytes);
    return most;
  }

  /** Takes the node's socket over from whichever connection has it. */
  async serve(): Promise<Decision> {
    const claim = await this.peer.ask({ kind: 'claim_api' });
    if (!claim.allowed) return claim;
    if (this.peer.ended || this.serving) return { allowed: false, reason: 'the connection has ended' };
    const listener = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (local) => {
      void this.#connect(local);
    });
    this.#listener = listener;
    try {
      await listen(listener, claim.socketPath);
    } catch (error) {
      this.close();
      return { allowed: false, reason: `its socket cannot be made: ${String(error)}` };
    }
    return this.peer.ask({ kind: 'publish_api' });
  }

  close(): void {
    this.#listener?.close();
    this.#listener = undefined;
    for (const local of this.#locals) local.destroy();
    for (const relay of this.#relays) relay.finish();
  }

  async #connect(local: Socket): Promise<void> {
    const { peer } = this;
    // Until the relay listens; `close` follows.
    local.on('error', () => undefined);
    if (peer.ended || !peer.takeChannel()) {
      local.destroy();
      return;
    }
    this.#locals.add(local);
    try {
      const channel = await this.#openChannel(local);
      this.#locals.delete(local);
      if (channel === undefined) return;
      const relay = startRelay(peer, channel, local);
      if (relay === undefined) return;
      this.#relays.add(relay);
      await relay.closed;
      this.#relays.delete(relay);
    } finally {
      this.#locals.delete(local);
      local.destroy();
      peer.giveChannelBack();
    }
  }

  /** @returns undefined when the node does not open it, or the local end has gone meanwhile */
  async #openChannel(local: Socket): Promise<Channel | undefined> {
    return new Promise((resolve) => {
      const late = setTimeout(() => local.destroy(), OPEN_TIMEOUT_MS);
      local.once('close', () => {
        clearTimeout(late);
        resolve(undefined);
      });
      this.ssh.openssh_forwardOutStreamLocal(NODE_API_NAME, (error, channel) => {
        clearTimeout(late);
        if (!error && local.destroyed) channel.close();
        resolve(error || local.destroyed ? undefined : channel);
      });
    });
  }
}

async function listen(listener: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    listener.once('error', reject);
    listener.listen(path, () => {
      listener.off('error', reject);
      resolve();
    });
  });
}
