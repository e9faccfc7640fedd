import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { SendenseError } from '@sendense/core';
import type { Listen, Logger } from '@sendense/runtime';
import type { Certificate } from './certificate.js';
import { orderedFault, VimFault } from './soap/fault.js';
import { BadRequest, cookieOf, readBody, readCall, sessionCookie, type SoapCall } from './soap/request.js';
import { text, type Value } from './soap/value.js';
import { answer, faultAnswer } from './soap/writer.js';
import { holdUp, type StruckFault } from './faults.js';
import { wholeNumber } from './soap/arguments.js';
import { checkLogin } from './vim/service-objects.js';
import { VimService, type VimServiceOptions } from './vim/service.js';
import { describeSession, type Session } from './vim/sessions.js';
import { strikesTask } from './vim/vm-tasks.js';

export interface VimServerOptions extends VimServiceOptions {
  readonly certificate: Certificate;
  readonly listen: Listen;
  /** Further names under which clients reach it; the endpoint shows the first. */
  readonly hostNames: readonly string[];
}

/** The versions of the API that the lab claims, the newest first: clients choose the newest that they know. */
const VERSIONS = [
  '8.0.2.0',
  '8.0.1.0',
  '8.0.0.0',
  '7.0.3.2',
  '7.0.3.0',
  '7.0.2.0',
  '7.0.1.0',
  '7.0.0.0',
].concat([
  '6.9.1',
  '6.8.7',
  '6.7.3',
  '6.7.2',
  '6.7.1',
  '6.7',
  '6.5',
  '6.0',
  '5.5',
  '5.1',
  '5.0',
  '4.1',
  '4.0',
  '2.5u2',
  '2.5',
]);

const [NEWEST, ...PRIOR] = VERSIONS;
const SERVICE_VERSIONS =
  '<?xml version="1.0" encoding="UTF-8"?>\n<namespaces version="1.0"><namespace><name>urn:vim25</name>' +
  `<version>${NEWEST}</version><priorVersions>${PRIOR.map((version) => `<version>${version}</version>`).join('')}` +
  '</priorVersions></namespace></namespaces>\n';

/** The vSphere API of the lab: SOAP over HTTPS. */
export class VimServer implements AsyncDisposable {
  readonly host: string;
  readonly port: number;
  readonly endpoint: string;
  readonly thumbprints: { readonly sha1: string; readonly sha256: string };
  readonly #service: VimService;
  readonly #log: Logger;
  readonly #listen: Listen;

  private constructor(
    private readonly server: Server,
    options: VimServerOptions,
  ) {
    this.host = options.hostNames[0] ?? options.listen.host;
    this.port = (server.address() as AddressInfo).port;
    this.endpoint = `https://${this.host.includes(':') ? `[${this.host}]` : this.host}:${this.port}/sdk`;
    this.thumbprints = options.certificate.thumbprints;
    this.#service = new VimService(options);
    this.#log = options.context.log;
    this.#listen = options.listen;
    server.on('request', (request, response) => void this.#respond(request, response));
  }

  /** @throws `port_in_use` */
  static async start(options: VimServerOptions): Promise<VimServer> {
    const { keyPem, certificatePem } = options.certificate;
    const server = createServer({ key: keyPem, cert: certificatePem, keepAliveTimeout: 60_000 });
    await listenOn(server, options.listen);
    return new VimServer(server, options);
  }

  /** The inventory has changed: tell those who wait for it. */
  notifyChange(): void {
    this.#service.changes.notify();
  }

  expireSessions(): void {
    this.#service.sessions.expireAll();
    this.notifyChange();
  }

  sessionCount(): number {
    return this.#service.sessions.all().length;
  }

  operations(): Record<string, number> {
    return { ...this.#service.operations };
  }

  /** As a vCenter that is shut down: every connection ends, and new ones are refused. Tasks go on. */
  async goOffline(): Promise<void> {
    if (!this.server.listening) return;
    const closed = once(this.server, 'close');
    this.server.close();
    this.server.closeAllConnections();
    await closed;
  }

  /** Listens again where it did. @throws `port_in_use` */
  async goOnline(): Promise<void> {
    if (!this.server.listening) await listenOn(this.server, { host: this.#listen.host, port: this.port });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#service.stop();
    await this.goOffline();
  }

  async #respond(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      await this.#route(request, response);
    } catch (error) {
      // The client is gone, or the lab was told to hang up on it.
      this.#log.debug({ error }, 'a request ended without an answer');
      response.destroy();
    }
  }

  async #route(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = (request.url ?? '').split('?')[0] ?? '';
    if (request.method === 'GET' && path === '/sdk/vimServiceVersions.xml') {
      response.writeHead(200, { 'content-type': 'text/xml' }).end(SERVICE_VERSIONS);
    } else if (request.method === 'POST' && /^\/sdk(\/|$)/.test(path)) {
      await this.#soap(request, response);
    } else {
      request.resume();
      response.writeHead(404, { 'content-type': 'text/plain' }).end('not found\n');
    }
  }

  async #soap(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const gone = new AbortController();
    response.once('close', () => gone.abort());
    const signal = AbortSignal.any([gone.signal, this.#service.stopping]);
    const headers: Record<string, string> = {
      'content-type': 'text/xml; charset="utf-8"',
      'cache-control': 'no-cache',
    };
    let status = 200;
    let body: string;
    try {
      const call = readCall(await readBody(request));
      this.#service.operations[call.method] = (this.#service.operations[call.method] ?? 0) + 1;
      const faults = this.#service.strike(call.method, call.target, wholeNumber(call.arguments, 'deviceKey'));
      const refused = await strikeCall(call, faults, signal);
      if (refused !== undefined) {
        response.writeHead(refused, { 'content-type': 'text/plain' }).end('the lab was told to answer so\n');
        return;
      }
      body = await this.#answer(call, faults, request, headers, signal);
      if (faults.some(({ drop }) => drop === 'after')) throw new HangUp();
    } catch (error) {
      if (error instanceof HangUp) throw error;
      status = 500;
      body = faultAnswer(error instanceof VimFault ? error : this.#unexpected(error));
    }
    response.writeHead(status, { ...headers, 'content-length': String(Buffer.byteLength(body)) }).end(body);
  }

  async #answer(
    call: SoapCall,
    faults: readonly StruckFault[],
    request: IncomingMessage,
    headers: Record<string, string>,
    signal: AbortSignal,
  ): Promise<string> {
    const service = this.#service;
    const session = service.sessions.use(cookieOf(request));
    if (call.method === 'Login' && call.target.type === 'SessionManager') {
      return answer('Login', this.#logIn(call, request, headers));
    }
    const value = await service.run({ ...call, session, service, faults, signal });
    return answer(call.method, value, call.method === 'Fetch');
  }

  #logIn(call: SoapCall, request: IncomingMessage, headers: Record<string, string>): Value {
    const username = checkLogin(this.#service, { arguments: call.arguments });
    const { remoteAddress = '' } = request.socket;
    const session: Session = this.#service.sessions.open(
      username,
      remoteAddress,
      request.headers['user-agent'] ?? '',
    );
    headers['set-cookie'] = sessionCookie(session.cookie);
    return describeSession(session);
  }

  #unexpected(error: unknown): VimFault {
    if (error instanceof BadRequest) return new VimFault('InvalidRequest', error.message);
    this.#log.error({ error }, 'a call of the lab failed unexpectedly');
    return new VimFault('SystemError', String(error), { reason: text(String(error)) });
  }
}

async function listenOn(server: Server, listen: Listen): Promise<void> {
  server.listen(listen);
  try {
    await once(server, 'listening');
  } catch (cause) {
    throw new SendenseError(
      'port_in_use',
      `the lab cannot listen on ${listen.host}:${listen.port}: ${(cause as Error).message}`,
      { cause },
    );
  }
}

/** The answer is not to be sent. */
class HangUp extends Error {}

/**
 * Does to a call what the lab was told.
 * @returns the HTTP status to answer with instead of an answer
 * @throws VimFault · HangUp
 */
async function strikeCall(
  { method, target }: SoapCall,
  faults: readonly StruckFault[],
  signal: AbortSignal,
): Promise<number | undefined> {
  for (const fault of faults) {
    const inTask = strikesTask(method, fault);
    if (!inTask && !(await holdUp(fault, signal))) continue;
    if (fault.drop === 'before' || fault.drop === true) throw new HangUp();
    if (fault.httpStatus !== undefined) return fault.httpStatus;
    if (fault.fault !== undefined && !inTask) {
      throw orderedFault(fault.fault, fault.message, { target, task: 'task-0' });
    }
  }
  return undefined;
}
