import { connect as connectTcp, type Socket } from 'node:net';
import { SendenseError, throwIfAborted } from '@sendense/core';
import { keyFingerprint } from '../keys.js';
import { ALGORITHMS } from '../ssh/algorithms.js';
import { Carrier } from '../ssh/carrier.js';
import { Client, type SshClient } from '../ssh/library.js';
import { takeLargePackets, useLargePackets } from '../ssh/large-packets.js';
import { watchLiveness } from '../ssh/liveness.js';
import type { HubAddress } from './hub-address.js';
import type { TunnelTiming } from './timing.js';

/** ssh2 counts unanswered keep-alives; here {@link watchLiveness} does. */
const NEVER = 2 ** 31;
/** How long the hub may take to receive our last words. */
const GOODBYE_MS = 1000;

/** One way of proving who we are: see ssh2's `authHandler`. */
export type AuthenticationStep = object;

export interface ConnectOptions {
  readonly hub: HubAddress;
  readonly user: string;
  /** One after another, as long as the hub wants more. */
  readonly steps: readonly AuthenticationStep[];
  readonly timing: TunnelTiming;
  readonly signal?: AbortSignal;
  /** The hub's host key is the pinned one. */
  readonly onHostKey?: () => void;
}

/** As Node and ssh2 make them. */
type NetworkError = Error & { readonly level?: string; readonly code?: unknown };

/** An authenticated SSH connection to the hub. Disposing of it says goodbye and closes it. */
export interface HubConnection extends AsyncDisposable {
  readonly ssh: SshClient;
  readonly carrier: Carrier;
  /** Resolves when the connection has ended; undefined when it was disposed of. */
  readonly lost: Promise<SendenseError | undefined>;
}

/**
 * @throws `host_key_mismatch` and `permission_denied` (key refused): somebody has to act; `tunnel_lost` (retryable): the
 *   hub is not there, not a hub, or busy; `cancelled`
 */
export async function connectToHub(options: ConnectOptions): Promise<HubConnection> {
  const { hub, timing, signal } = options;
  throwIfAborted(signal);
  const tcp = connectTcp({ host: hub.host, port: hub.port, noDelay: true });
  const ssh = new Client();
  let failure: SendenseError | undefined;
  let [connected, disposed] = [false, false];
  const fail = (error: SendenseError) => {
    failure ??= error;
    tcp.destroy();
  };
  // ssh2 reports one problem several times, the first time best.
  const broken = (error: NetworkError) => {
    fail(connected ? lostError(hub, `is lost (${reasonOf(error)})`, error) : describe(options, error));
  };
  ssh.on('error', broken);
  tcp.on('error', broken);
  const closed = new Promise<void>((resolve) => tcp.once('close', () => resolve()));
  const lost = closed.then(() => (disposed ? undefined : (failure ?? ended(hub))));
  const abort = () => fail(new SendenseError('cancelled', `connecting to ${where(hub)} was cancelled`));
  signal?.addEventListener('abort', abort, { once: true });
  const late = setTimeout(() => {
    fail(lostError(hub, `did not complete the handshake within ${timing.connectTimeoutMs / 1000} s`));
  }, timing.connectTimeoutMs);
  try {
    const ready = new Promise<'ready'>((resolve) => ssh.once('ready', () => resolve('ready')));
    begin(ssh, tcp, options, fail);
    const outcome = await Promise.race([ready, lost]);
    if (outcome !== 'ready') throw outcome ?? ended(hub);
    connected = true;
    useLargePackets(ssh, tcp);
    takeLargePackets(ssh);
  } finally {
    clearTimeout(late);
    signal?.removeEventListener('abort', abort);
  }
  watchLiveness(tcp, { intervalMs: timing.keepAliveIntervalMs, tries: timing.keepAliveTries }, () => {
    fail(lostError(hub, 'gives no sign of life'));
  });
  return {
    ssh,
    carrier: new Carrier(tcp),
    lost,
    [Symbol.asyncDispose]: async () => {
      disposed = true;
      ssh.end();
      tcp.destroySoon();
      const goodbye = setTimeout(() => tcp.destroy(), GOODBYE_MS);
      await closed;
      clearTimeout(goodbye);
    },
  };
}

function begin(
  ssh: SshClient,
  tcp: Socket,
  options: ConnectOptions,
  fail: (error: SendenseError) => void,
): void {
  const { hub, user, timing } = options;
  const steps = options.steps.map((step) => ({ ...step, username: user }));
  ssh.connect({
    sock: tcp,
    username: user,
    algorithms: ALGORITHMS,
    // Ours does not call itself OpenSSH, and yet knows streamlocal-forward@openssh.com.
    strictVendor: false,
    readyTimeout: 0,
    keepaliveInterval: timing.keepAliveIntervalMs,
    keepaliveCountMax: NEVER,
    hostVerifier: (key: Buffer) => {
      const presented = keyFingerprint(key);
      if (presented !== hub.hostKeyFingerprint) {
        fail(otherHostKey(hub, presented));
        return false;
      }
      options.onHostKey?.();
      return true;
    },
    authHandler: ((_left: unknown, _partial: unknown, next: (step: unknown) => void) => {
      next(steps.shift() ?? false);
    }) as never,
  });
}

function describe(options: ConnectOptions, error: NetworkError): SendenseError {
  const { hub, user } = options;
  switch (error.level) {
    case 'client-authentication':
      return new SendenseError(
        'permission_denied',
        `the hub ${where(hub)} does not accept the key of this node as ${user}: it was revoked or never enrolled (enrol it with a new token), or the job has ended`,
        { context: { user } },
      );
    case 'handshake':
    case 'protocol':
      if (error.message.includes('lost before handshake')) return ended(hub);
      return lostError(hub, `does not speak SSH as a Sendense hub does (${error.message})`, error);
    default:
      return lostError(hub, `cannot be reached (${reasonOf(error)})`, error);
  }
}

/** What the common network errors mean, for somebody who has to find the fault. */
export function reasonOf(error: NetworkError): string {
  switch (error.code) {
    case 'ECONNREFUSED':
      return 'connection refused: nothing listens there, or a firewall rejects it';
    case 'ETIMEDOUT':
    case 'EHOSTUNREACH':
    case 'ENETUNREACH':
      return `${error.code}: check the route and the firewall`;
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return `${error.code}: the name is not known: check the name and DNS`;
    default:
      return error.message;
  }
}

function otherHostKey(hub: HubAddress, presented: string): SendenseError {
  return new SendenseError(
    'host_key_mismatch',
    `the hub ${where(hub)} presents the host key ${presented} instead of ${hub.hostKeyFingerprint}: either this is not the hub that the node was enrolled at, or its key was replaced; in that case enrol the node again`,
    { context: { presented, pinned: hub.hostKeyFingerprint } },
  );
}

function ended(hub: HubAddress): SendenseError {
  return lostError(hub, 'ended the connection');
}

export function lostError(hub: HubAddress, what: string, cause?: unknown): SendenseError {
  return new SendenseError('tunnel_lost', `the hub ${where(hub)} ${what}`, {
    retryable: true,
    context: { hub: where(hub) },
    ...(cause === undefined ? {} : { cause }),
  });
}

export function where({ host, port }: { readonly host: string; readonly port: number }): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}
