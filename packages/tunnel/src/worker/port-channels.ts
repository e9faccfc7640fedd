import { connect, type Socket } from 'node:net';
import type { Channel, TcpipRequestInfo } from '../ssh/library.js';
import type { Relay } from '../ssh/relay.js';
import { shown, startRelay, type Peer } from './peer.js';

const HOSTS = new Set(['127.0.0.1', 'localhost']);
const CONNECT_TIMEOUT_MS = 10_000;
interface OpenPort {
  readonly jobId: string;
  readonly local: Socket;
  relay: Relay | undefined;
}

/** The `direct-tcpip` channels of one connection: towards leased NBD ports of this host, nothing else. */
export class PortChannels {
  readonly #open = new Set<OpenPort>();

  constructor(private readonly peer: Peer) {}

  get unreadBytes(): number {
    let most = 0;
    for (const { relay } of this.#open) most = Math.max(most, relay?.unreadBytes ?? 0);
    return most;
  }

  async open(accept: () => Channel, reject: () => void, info: TcpipRequestInfo): Promise<void> {
    const { peer } = this;
    const problem = this.#problem(info);
    if (problem !== undefined || !peer.takeChannel()) {
      reject();
      peer.refuse('channel', `to ${shown(info.destIP)}:${info.destPort}: ${problem ?? 'too many channels'}`);
      return;
    }
    try {
      if (!(await this.#relay(accept, info))) reject();
    } finally {
      peer.giveChannelBack();
    }
  }

  /** Ends the channels of a job at once. Resolves when nothing of them reaches its port any more. */
  async revoke(jobId: string): Promise<void> {
    const revoked = [...this.#open].filter((port) => port.jobId === jobId);
    await Promise.all(
      revoked.map(async ({ local, relay }) => {
        const closed = new Promise<void>((resolve) => local.once('close', () => resolve()));
        if (relay) relay.abort();
        else local.destroy();
        if (!local.closed) await closed;
      }),
    );
  }

  /** The connection has ended. */
  finish(): void {
    for (const { local, relay } of this.#open) {
      if (relay) relay.finish();
      else local.destroy();
    }
  }

  #problem({ destIP, destPort }: TcpipRequestInfo): string | undefined {
    if (this.peer.identity?.kind !== 'node') return 'an enrolment opens no channels';
    if (!HOSTS.has(destIP)) return 'only 127.0.0.1 can be reached';
    if (!Number.isInteger(destPort) || destPort < 1 || destPort > 65_535) return 'no such port';
    return undefined;
  }

  /** @returns false when the channel was not opened; otherwise resolves when it has ended */
  async #relay(accept: () => Channel, { destIP, destPort }: TcpipRequestInfo): Promise<boolean> {
    const { peer } = this;
    if (peer.identity?.kind !== 'node') return false;
    const { nodeName, jobId } = peer.identity;
    const decision = await peer.ask({ kind: 'may_open', nodeName, jobId, host: destIP, port: destPort });
    if (peer.ended) return false;
    if (!decision.allowed) {
      peer.refuse('channel', `to ${destIP}:${destPort}: ${decision.reason}`);
      return false;
    }
    const local = connect({ host: '127.0.0.1', port: destPort, allowHalfOpen: true });
    const port: OpenPort = { jobId: decision.jobId, local, relay: undefined };
    this.#open.add(port);
    try {
      if (!(await connected(local)) || peer.ended) return false;
      port.relay = startRelay(peer, accept(), local);
      await port.relay?.closed;
      return true;
    } finally {
      local.destroy();
      this.#open.delete(port);
    }
  }
}

async function connected(socket: Socket): Promise<boolean> {
  return new Promise((resolve) => {
    const late = setTimeout(() => socket.destroy(), CONNECT_TIMEOUT_MS);
    const settle = (isConnected: boolean) => {
      clearTimeout(late);
      resolve(isConnected);
    };
    socket.once('connect', () => settle(true));
    socket.once('close', () => settle(false));
    // `close` follows.
    socket.on('error', () => undefined);
  });
}
