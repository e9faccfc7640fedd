import { lookup } from 'node:dns/promises';
import { connect } from 'node:net';
import { toSendenseError } from '@sendense/core';
import { formatTunnelUser } from '../names.js';
import { connectToHub, reasonOf, where } from './connect.js';
import type { HubAddress } from './hub-address.js';
import { DEFAULT_TIMING } from './timing.js';

export interface HubCheck {
  /** `hub_address`, `hub_port`, `hub_host_key`, `hub_accepts_key` */
  readonly name: string;
  readonly ok: boolean;
  /** What was found, and the fix when it is not ok. */
  readonly detail: string;
}

export interface CheckHubOptions {
  readonly hub: HubAddress;
  readonly nodeName: string;
  readonly privateKeyPem: string;
  readonly signal?: AbortSignal;
  /** For each step. @default 10000 */
  readonly timeoutMs?: number;
}

/** Goes the way that the tunnel goes, to the very port that it uses, and stops at the first step that fails. */
export async function checkHub(options: CheckHubOptions): Promise<HubCheck[]> {
  const timeoutMs = options.timeoutMs ?? 10_000;
  const checks = [await checkAddress(options.hub)];
  if (checks.every(({ ok }) => ok)) checks.push(await checkPort(options.hub, timeoutMs));
  if (checks.every(({ ok }) => ok)) checks.push(...(await checkSsh(options, timeoutMs)));
  return checks;
}

async function checkAddress({ host }: HubAddress): Promise<HubCheck> {
  const name = 'hub_address';
  try {
    const addresses = await lookup(host, { all: true });
    return { name, ok: true, detail: `${host} is ${addresses.map(({ address }) => address).join(', ')}` };
  } catch (error) {
    return { name, ok: false, detail: `${host}: ${reasonOf(toError(error))}` };
  }
}

async function checkPort(hub: HubAddress, timeoutMs: number): Promise<HubCheck> {
  const name = 'hub_port';
  const since = performance.now();
  const problem = await new Promise<string | undefined>((resolve) => {
    const socket = connect({ host: hub.host, port: hub.port, timeout: timeoutMs });
    const settle = (reason: string | undefined) => {
      socket.destroy();
      resolve(reason);
    };
    socket.once('connect', () => settle(undefined));
    socket.once('timeout', () => {
      settle(`no answer within ${timeoutMs / 1000} s: a firewall drops it, or the address is wrong`);
    });
    socket.once('error', (error) => settle(reasonOf(error)));
  });
  if (problem !== undefined) return { name, ok: false, detail: `TCP ${where(hub)}: ${problem}` };
  const tookMs = Math.round(performance.now() - since);
  return { name, ok: true, detail: `TCP ${where(hub)} is open (${tookMs} ms)` };
}

async function checkSsh(options: CheckHubOptions, timeoutMs: number): Promise<HubCheck[]> {
  const { hub, nodeName, privateKeyPem, signal } = options;
  const user = formatTunnelUser({ nodeName, jobId: undefined });
  const hostKey = { name: 'hub_host_key', ok: true, detail: `${hub.hostKeyFingerprint}, as pinned` };
  let sawHostKey = false;
  try {
    await using _connection = await connectToHub({
      hub,
      user,
      steps: [{ type: 'publickey', key: privateKeyPem }],
      timing: { ...DEFAULT_TIMING, connectTimeoutMs: timeoutMs },
      onHostKey: () => (sawHostKey = true),
      ...(signal ? { signal } : {}),
    });
    return [hostKey, { name: 'hub_accepts_key', ok: true, detail: `the hub accepts this node as ${user}` }];
  } catch (error) {
    const detail = toSendenseError(error).message;
    if (!sawHostKey) return [{ ...hostKey, ok: false, detail }];
    return [hostKey, { name: 'hub_accepts_key', ok: false, detail }];
  }
}

function toError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
