import type { Socket } from 'node:net';
import { NODE_API_NAME } from '../names.js';
import { ALGORITHMS } from '../ssh/algorithms.js';
import { Carrier } from '../ssh/carrier.js';
import { Server, type SshConnection } from '../ssh/library.js';
import { copiesPackets, placeOfNextRead, takeLargePackets, useLargePackets } from '../ssh/large-packets.js';
import { watchLiveness } from '../ssh/liveness.js';
import type { RelayCounters } from '../ssh/relay.js';
import { WINDOW_BYTES } from '../ssh/window.js';
import type { WorkerConfig, AnswerTo, WorkerQuestion } from '../hub/messages.js';
import type { RefusedThing } from '../hub/policy.js';
import { Authentication } from './authentication.js';
import type { HubLink } from './hub-link.js';
import { NodeApi } from './node-api.js';
import { shown, type Identity, type Peer } from './peer.js';
import { PortChannels } from './port-channels.js';
import { refuseSession } from './session-requests.js';

/** How long an enrolled peer may stay: it has what it came for. */
const ENROLMENT_STAY_MS = 5000;
/** How long a peer may take to receive our last words. */
const GOODBYE_MS = 1000;
/** ssh2 counts unanswered keep-alives; here {@link watchLiveness} does. */
const NEVER = 2 ** 31;
/** More than a channel's window allows: who sends more ignores flow control. */
const MAX_UNREAD_BYTES = WINDOW_BYTES + (4 << 20);
/** What may wait to be sent beside the channels' windows: who lets more pile up asks and does not listen. */
const MAX_UNSENT_BYTES = 8 << 20;

export interface ConnectionOptions {
  readonly id: number;
  readonly socket: Socket;
  readonly remoteAddress: string;
  readonly config: WorkerConfig;
  readonly hub: HubLink;
}

/** One SSH connection, from its first byte to its last. */
export class PeerConnection implements Peer {
  readonly carrier: Carrier;
  readonly counters: RelayCounters = { fromPeerBytes: 0, toPeerBytes: 0 };
  readonly #ports = new PortChannels(this);
  readonly #authentication = new Authentication(this, (identity) => this.#authenticated(identity));
  readonly #authenticationTimer: NodeJS.Timeout;
  #ssh: SshConnection | undefined;
  #api: NodeApi | undefined;
  #identity: Identity | undefined;
  #channels = 0;
  #refusals = 0;
  #rekeyAtBytes: number;
  #reason: string | undefined;

  /** Settles when nothing of the connection is left. */
  readonly closed: Promise<void>;

  constructor(private readonly options: ConnectionOptions) {
    const { socket, config } = options;
    this.carrier = new Carrier(socket);
    this.#rekeyAtBytes = config.limits.rekeyBytes;
    this.#authenticationTimer = setTimeout(() => {
      this.close('no authentication in time');
    }, config.limits.authenticationTimeoutMs);
    this.closed = new Promise((resolve) => {
      socket.once('close', () => {
        this.#release();
        resolve();
      });
    });
    socket.setNoDelay(true);
    socket.once('end', () => this.close('the peer ended the connection'));
    // A server object of its own for each connection: ssh2 does not say which socket a connection came from.
    const server = new Server(
      {
        hostKeys: [config.hostKeyPem],
        algorithms: ALGORITHMS,
        ident: 'Sendense',
        keepaliveInterval: config.limits.keepAliveIntervalMs,
        keepaliveCountMax: NEVER,
      },
      (ssh) => this.#handshakeBegun(ssh),
    );
    server.injectSocket(socket);
  }

  get limits() {
    return this.options.config.limits;
  }

  /** Whether nothing is kept of the chunks that its socket emits. */
  get copiesPackets(): boolean {
    return this.#ssh !== undefined && copiesPackets(this.#ssh);
  }

  /** Where the next bytes of its socket belong, if that is known. */
  get placeOfNextRead(): Buffer | undefined {
    return this.#ssh && placeOfNextRead(this.#ssh);
  }

  get remoteAddress() {
    return this.options.remoteAddress;
  }

  get identity(): Identity | undefined {
    return this.#identity;
  }

  get channels(): number {
    return this.#channels;
  }

  get ended(): boolean {
    return this.#reason !== undefined || this.options.socket.destroyed;
  }

  async ask<Q extends WorkerQuestion>(question: Q): Promise<AnswerTo<Q>> {
    return this.options.hub.ask(this.options.id, question);
  }

  refuse(what: RefusedThing, detail: string): void {
    const nodeName = this.#identity?.kind === 'node' ? { nodeName: this.#identity.nodeName } : {};
    const { hub, remoteAddress } = this.options;
    hub.tell({ type: 'refused', refusal: { what, detail, remoteAddress, ...nodeName } });
    if (++this.#refusals >= this.limits.maxRefusals) this.close('too many refused requests');
  }

  takeChannel(): boolean {
    if (this.#channels >= this.limits.maxChannels) return false;
    this.#channels++;
    return true;
  }

  giveChannelBack(): void {
    this.#channels--;
  }

  /** Says goodbye when the peer still listens, and is gone after a second either way. */
  close(reason: string): void {
    if (this.#reason !== undefined) return;
    this.#reason = reason;
    const { socket } = this.options;
    this.#api?.close();
    this.#ports.finish();
    try {
      this.#ssh?.end();
    } catch {
      // In the middle of a broken handshake there is no goodbye.
    }
    socket.destroySoon();
    const late = setTimeout(() => socket.destroy(), GOODBYE_MS);
    socket.once('close', () => clearTimeout(late));
  }

  /** Ends what the connection has of a job: all of it when it is the job's lane. */
  async revokeJob(jobId: string): Promise<void> {
    const isLane = this.#identity?.kind === 'node' && this.#identity.jobId === jobId;
    const revoked = this.#ports.revoke(jobId);
    if (isLane) this.close(`job ${jobId} no longer has its ports`);
    await revoked;
  }

  #handshakeBegun(ssh: SshConnection): void {
    this.#ssh = ssh;
    useLargePackets(ssh, this.options.socket);
    ssh.on('error', (error: Error) => this.#fail(error));
    ssh.on('authentication', (context) => {
      this.#authentication.decide(context).catch((error: unknown) => this.#fail(error));
    });
    ssh.on('session', (accept) => {
      // ssh2 keeps a session until the connection ends, so that its channel is never given back.
      if (this.takeChannel()) refuseSession(accept(), (what, detail) => this.refuse(what, detail));
      else this.close('too many sessions');
    });
    ssh.on('tcpip', (accept, reject, info) => {
      this.#ports.open(accept, reject, info).catch((error: unknown) => this.#fail(error));
    });
    ssh.on('openssh.streamlocal', (_accept, reject, { socketPath }) => {
      reject();
      this.refuse('channel', `to socket ${shown(socketPath)}`);
    });
    ssh.on('request', (accept, reject, name: string, info: object) => {
      this.#globalRequest(name, { ...info }).then(
        (granted) => (granted ? accept?.() : reject?.()),
        (error: unknown) => this.#fail(error),
      );
    });
  }

  async #globalRequest(name: string, info: Record<string, unknown>): Promise<boolean> {
    const api = this.#api;
    const isOurs = info['socketPath'] === NODE_API_NAME && api !== undefined;
    if (isOurs && name === 'streamlocal-forward@openssh.com') {
      const decision = await api.serve();
      if (!decision.allowed && !this.ended) this.refuse('forward', `${NODE_API_NAME}: ${decision.reason}`);
      return decision.allowed;
    }
    if (isOurs && api.serving && name === 'cancel-streamlocal-forward@openssh.com') {
      this.#withdrawApi();
      return true;
    }
    this.refuse('forward', `${shown(name)} ${shown(Object.values(info).join(':'))}`);
    return false;
  }

  #withdrawApi(): void {
    if (!this.#api?.serving) return;
    this.#api.close();
    this.options.hub.tell({ type: 'api_withdrawn', connectionId: this.options.id });
  }

  #authenticated(identity: Identity): void {
    this.#identity = identity;
    clearTimeout(this.#authenticationTimer);
    const { hub, id, socket } = this.options;
    hub.tell({ type: 'authenticated', connectionId: id });
    if (identity.kind === 'enrolment') {
      const stay = setTimeout(() => this.close('enrolled'), ENROLMENT_STAY_MS);
      socket.once('close', () => clearTimeout(stay));
      return;
    }
    if (this.#ssh) takeLargePackets(this.#ssh);
    // A lane serves its job's ports and nothing else.
    if (identity.jobId === undefined && this.#ssh) this.#api = new NodeApi(this, this.#ssh);
    const { keepAliveIntervalMs: intervalMs, keepAliveTries: tries } = this.limits;
    watchLiveness(socket, { intervalMs, tries }, () => this.close('no sign of life'));
    socket.on('data', () => this.#checkBounds());
  }

  #checkBounds(): void {
    const { socket } = this.options;
    const unread = Math.max(this.#ports.unreadBytes, this.#api?.unreadBytes ?? 0);
    if (unread > MAX_UNREAD_BYTES) this.#fail(new Error('the peer ignores flow control'));
    const maxUnsent = MAX_UNSENT_BYTES + this.limits.maxChannels * WINDOW_BYTES;
    if (socket.writableLength > maxUnsent) this.#fail(new Error('the peer does not read'));
    const carried = this.counters.fromPeerBytes + this.counters.toPeerBytes;
    if (carried < this.#rekeyAtBytes || this.ended) return;
    this.#rekeyAtBytes = carried + this.limits.rekeyBytes;
    this.#ssh?.rekey();
  }

  /** The peer broke the protocol, or the network broke: nothing more can be said. */
  #fail(error: unknown): void {
    this.#reason ??= error instanceof Error ? error.message : String(error);
    this.options.socket.destroy();
  }

  #release(): void {
    clearTimeout(this.#authenticationTimer);
    this.#reason ??= 'the connection was lost';
    this.#api?.close();
    this.#ports.finish();
    this.options.hub.tell({
      type: 'closed',
      connectionId: this.options.id,
      reason: shown(this.#reason),
    });
  }
}
