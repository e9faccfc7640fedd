import { SendenseError, toSendenseError } from '@sendense/core';
import type { Logger } from '@sendense/runtime';
import { faultAs, faultError, isFault, readSoapFault, type Fault } from '../soap/fault.js';
import { envelope, value, type ManagedObject, type Markup } from '../soap/markup.js';
import { parseXml, type XmlElement } from '../soap/xml.js';
import { protocolFailure, unreachable } from '../transport/failures.js';
import type { SoapReply, SoapTransport } from '../transport/soap-transport.js';
import { readServiceContent, SERVICE_INSTANCE, type ServiceContent } from './service.js';

export interface CallOptions {
  readonly signal?: AbortSignal;
  /** For this call instead of the session's limit. */
  readonly timeoutMs?: number;
  /** The call changes something: it must not be sent twice when a connection breaks. */
  readonly changes?: boolean;
}

/** One call of a method of an object; the values it returned. */
export type Send = (
  method: string,
  target: ManagedObject,
  parameters?: readonly Markup[],
  options?: CallOptions,
) => Promise<XmlElement[]>;

export interface Credentials {
  readonly username: string;
  readonly password: string;
}

/**
 * Calls methods of the vSphere API and keeps the session alive. vCenter drops a session after 30 idle minutes, or when an
 * administrator ends it; the next call is then refused with NotAuthenticated, and nothing of it has happened.
 */
export class VimClient {
  #cookie: string | undefined;
  /** Counts logins, so that of several calls refused at once only the first logs in again. */
  #login = 0;
  #renewal: Promise<void> | undefined;
  #ended = false;
  #content: ServiceContent | undefined;

  constructor(
    private readonly transport: SoapTransport,
    private readonly credentials: Credentials,
    readonly timeoutMs: number,
    readonly log: Logger,
  ) {}

  get endpoint(): string {
    return this.transport.endpoint.label;
  }

  get service(): ServiceContent {
    if (this.#content === undefined) throw new SendenseError('internal', 'vCenter is used before the login');
    return this.#content;
  }

  /** @throws `vcenter_login_failed` · what {@link SoapTransport.post} throws */
  async login(signal?: AbortSignal): Promise<void> {
    const options = signal ? { signal } : {};
    const content = await this.#send('RetrieveServiceContent', SERVICE_INSTANCE, [], options);
    if (content[0] === undefined) throw protocolFailure(this.transport.endpoint, 'it describes no service');
    this.#content = readServiceContent(content[0]);
    await this.#logIn(options);
  }

  /** One call. When the session has expired it logs in again, once, and repeats the call. */
  readonly call: Send = async (...request) =>
    this.withinSession(async (send) => send(...request), request[3]?.signal);

  /**
   * Several calls that belong to one session, because they use what vCenter forgets with it (views, collectors, tokens of
   * pages). When the session has expired, all of them are repeated once in a new one.
   * @param signal ends the waiting for the new session; the calls have their own
   */
  async withinSession<T>(work: (send: Send) => Promise<T>, signal?: AbortSignal): Promise<T> {
    const send: Send = async (...request) => this.#send(...request);
    const login = this.#login;
    try {
      return await work(send);
    } catch (error) {
      if (!isFault(error, 'NotAuthenticated') || this.#ended) throw error;
    }
    await this.#renew(login, signal);
    try {
      return await work(send);
    } catch (error) {
      if (!isFault(error, 'NotAuthenticated')) throw error;
      throw new SendenseError(
        'vcenter_session_expired',
        `${this.endpoint} ended the session right after a new login: check how many sessions it allows this user`,
        { context: { endpoint: this.endpoint }, cause: error, retryable: true },
      );
    }
  }

  /** Says goodbye, if vCenter still listens, and makes every further call fail. */
  async logout(timeoutMs: number): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    if (this.#cookie === undefined) return;
    try {
      await this.#send('Logout', this.service.sessionManager, [], { timeoutMs });
    } catch (error) {
      // vCenter ends an idle session by itself.
      this.log.debug({ endpoint: this.endpoint, error: String(error) }, 'could not log out of vCenter');
    }
    this.#cookie = undefined;
  }

  /** Shared by all calls that were refused at once; one that is cancelled leaves it to the others. */
  async #renew(login: number, signal: AbortSignal | undefined): Promise<void> {
    if (login !== this.#login) return;
    this.#renewal ??= this.#logIn({})
      .then(() => {
        this.log.info({ endpoint: this.endpoint }, 'vCenter session had expired, logged in again');
      })
      .finally(() => {
        this.#renewal = undefined;
      });
    await unlessAborted(this.#renewal, signal);
  }

  async #logIn(options: CallOptions): Promise<void> {
    const { username, password } = this.credentials;
    const parameters = [value('userName', username), value('password', password)];
    try {
      // Without the old cookie: vCenter refuses a login inside a session.
      const reply = await this.#exchange('Login', this.service.sessionManager, parameters, options);
      if (reply.cookie === undefined) {
        throw protocolFailure(this.transport.endpoint, 'it accepted the login without opening a session');
      }
      this.#cookie = reply.cookie;
      this.#login++;
    } catch (error) {
      if (!isFault(error, 'InvalidLogin', 'NoPermission')) throw error;
      throw faultAs(
        'vcenter_login_failed',
        `${username} cannot log in to ${this.endpoint}: check user name, password and that the account is not locked`,
        error,
      );
    }
  }

  async #send(...[method, target, parameters = [], options = {}]: Parameters<Send>): Promise<XmlElement[]> {
    if (this.#ended && method !== 'Logout') {
      throw new SendenseError('cancelled', `the session with ${this.endpoint} was closed before ${method}`);
    }
    return (await this.#exchange(method, target, parameters, options, this.#cookie)).values;
  }

  /** The cookie of a reply counts only for a login: others belong to sessions that nobody has logged in to. */
  async #exchange(
    method: string,
    target: ManagedObject,
    parameters: readonly Markup[],
    options: CallOptions,
    cookie?: string,
  ): Promise<{ values: XmlElement[]; cookie?: string }> {
    const started = performance.now();
    const reply = await this.transport.post({
      body: envelope(method, target, parameters),
      timeoutMs: options.timeoutMs ?? this.timeoutMs,
      ...(cookie === undefined ? {} : { cookie }),
      ...(options.signal ? { signal: options.signal } : {}),
      ...(options.changes ? { ownConnection: true } : {}),
    });
    const durationMs = Math.round(performance.now() - started);
    this.log.trace({ method, object: target.value, status: reply.status, durationMs }, 'called vCenter');
    const body = this.#readBody(reply);
    const fault = body.child('Fault');
    if (fault) throw this.faultError(readSoapFault(fault), `${method} of ${target.value}`);
    const answer = body.child(`${method}Response`);
    if (answer === undefined) throw protocolFailure(this.transport.endpoint, `it does not answer ${method}`);
    return {
      values: answer.all('returnval'),
      ...(reply.cookie === undefined ? {} : { cookie: reply.cookie }),
    };
  }

  #readBody(reply: SoapReply): XmlElement {
    const { endpoint } = this.transport;
    try {
      const root = parseXml(reply.body);
      const body = root.name === 'Envelope' ? root.child('Body') : undefined;
      if (body) return body;
      throw new Error('it is no SOAP');
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      // A gateway that answers for a vCenter which is starting or down.
      if ([502, 503, 504].includes(reply.status)) {
        throw unreachable(endpoint, `its API is not available (HTTP ${reply.status})`, error);
      }
      throw protocolFailure(endpoint, `HTTP ${reply.status}, and of the answer: ${why}`, error);
    }
  }

  /**
   * The `vcenter_fault` for a fault of this vCenter. A server may quote what it was sent: password and cookie are cut out.
   * @param what the call or task that failed and its object: `CreateSnapshot_Task of vm-57`
   */
  faultError(fault: Fault, what: string, context: Record<string, string> = {}): SendenseError {
    const cookie = this.#cookie?.replace(/^[^=]*=/, '').replaceAll('"', '') ?? '';
    // Shorter ones would be cut out of ordinary words.
    const secrets = [this.credentials.password, cookie].filter((secret) => secret.length >= 4);
    const hide = (text: string) =>
      secrets.reduce((shown, secret) => shown.replaceAll(secret, '[secret]'), text);
    const shown = {
      name: fault.name,
      message: hide(fault.message),
      details: Object.fromEntries(Object.entries(fault.details).map(([key, text]) => [key, hide(text)])),
      explanations: fault.explanations.map(hide),
    };
    return faultError(shown, what, { endpoint: this.endpoint, ...context });
  }
}

/** The promise's outcome, or the signal's reason if that comes first. */
async function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return promise;
  const aborted = Promise.withResolvers<never>();
  const onAbort = () => {
    aborted.reject(toSendenseError(signal.reason, 'cancelled'));
  };
  signal.addEventListener('abort', onAbort, { once: true });
  if (signal.aborted) onAbort();
  try {
    return await Promise.race([promise, aborted.promise]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}
