import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { SendenseError, throwIfAborted } from '@sendense/core';
import type { Thumbprints } from '../types.js';
import type { Endpoint } from './endpoint.js';
import { protocolFailure, transportFailure, unreachable } from './failures.js';
import { PinnedAgent } from './pinned-tls.js';
import type { Pin } from './thumbprints.js';

/**
 * The version of the API whose types we expect. vCenter answers in it whatever its own is; it knows everything that is
 * used here, and no supported vCenter is older.
 */
const SOAP_ACTION = '"urn:vim25/6.5"';

/** Pages of properties are asked for in portions (vim/properties.ts) that stay far below this. */
const MAX_REPLY_BYTES = 64 << 20;

export interface SoapRequest {
  readonly body: string;
  readonly cookie?: string;
  /** For the whole exchange, connecting included. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
  /**
   * Takes a connection of its own. A kept one may turn out to be closed only when it is used, and then nobody knows
   * whether the request arrived: for one that changes something that must not happen.
   */
  readonly ownConnection?: boolean;
}

export interface SoapReply {
  readonly status: number;
  readonly body: string;
  /** The session's cookie as `name=value`, when the reply sets one. */
  readonly cookie?: string;
}

/** HTTP to one pinned endpoint: bytes out, bytes in. What they mean is not known here. */
export class SoapTransport implements Disposable {
  readonly #closed = new AbortController();
  readonly #kept: PinnedAgent;
  readonly #single: PinnedAgent;

  constructor(
    readonly endpoint: Endpoint,
    pin: Pin | undefined,
    timeoutMs: number,
  ) {
    const limits = { timeoutMs, closed: this.#closed.signal };
    this.#kept = new PinnedAgent(endpoint, pin, { ...limits, keep: true });
    this.#single = new PinnedAgent(endpoint, pin, { ...limits, keep: false });
  }

  /** Of the certificate at the other end, once something was exchanged. */
  get thumbprints(): Thumbprints {
    const { thumbprints } = this.#kept;
    if (thumbprints === undefined)
      throw new SendenseError('internal', 'no connection to vCenter was made yet');
    return thumbprints;
  }

  /** @throws `vcenter_unreachable` · `vcenter_protocol` · `vcenter_thumbprint_mismatch` · `cancelled` */
  async post(request: SoapRequest): Promise<SoapReply> {
    const { endpoint } = this;
    throwIfAborted(request.signal);
    const limit = new AbortController();
    const late = setTimeout(() => {
      limit.abort(unreachable(endpoint, `no complete answer within ${request.timeoutMs / 1000} s`));
    }, request.timeoutMs);
    const signal = AbortSignal.any([
      limit.signal,
      this.#closed.signal,
      ...(request.signal ? [request.signal] : []),
    ]);
    try {
      return await this.#exchange(request, request.ownConnection ? this.#single : this.#kept, signal);
    } finally {
      clearTimeout(late);
    }
  }

  async #exchange(request: SoapRequest, agent: PinnedAgent, signal: AbortSignal): Promise<SoapReply> {
    const { endpoint } = this;
    const sent = httpsRequest({
      agent,
      host: endpoint.host,
      port: endpoint.port,
      path: '/sdk',
      method: 'POST',
      signal,
      headers: {
        host: endpoint.label,
        'content-type': 'text/xml; charset=utf-8',
        'content-length': Buffer.byteLength(request.body),
        soapaction: SOAP_ACTION,
        ...(request.cookie === undefined ? {} : { cookie: request.cookie }),
      },
    });
    // After the answer began, its own stream reports what goes wrong; an error without a listener would end the process.
    sent.on('error', () => undefined);
    let answered = false;
    try {
      sent.end(request.body);
      const [response] = (await once(sent, 'response')) as [IncomingMessage];
      answered = true;
      const body = await readBody(endpoint, response);
      const cookie = sessionCookie(response.headers['set-cookie']);
      return { status: response.statusCode ?? 0, body, ...(cookie === undefined ? {} : { cookie }) };
    } catch (error) {
      sent.destroy();
      const stale = sent.reusedSocket && !answered && !signal.aborted;
      // The kept connection had ended before anything was answered: try once more on a new one.
      if (stale) return await this.#exchange(request, this.#single, signal);
      throw transportFailure(endpoint, error, signal);
    }
  }

  /** Ends every connection and whatever is under way on one. */
  [Symbol.dispose](): void {
    this.#closed.abort(new SendenseError('cancelled', `the session with ${this.endpoint.label} was closed`));
    this.#kept.destroy();
    this.#single.destroy();
  }
}

async function readBody(endpoint: Endpoint, response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > MAX_REPLY_BYTES) {
      throw protocolFailure(endpoint, `the answer is larger than ${MAX_REPLY_BYTES >> 20} MiB`);
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function sessionCookie(headers: readonly string[] | undefined): string | undefined {
  const found = headers?.find((header) => header.startsWith('vmware_soap_session='));
  return found?.split(';', 1)[0];
}
