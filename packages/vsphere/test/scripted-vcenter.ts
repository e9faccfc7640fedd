import { execFileSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import { temporaryDirectory } from '@sendense/runtime/testing';
import { parseXml, type XmlElement } from '../src/soap/xml.js';
import type { Thumbprints } from '../src/types.js';
import { pyvmomiReplies } from './fixtures.js';
import { fault, moref, sendAnswer, val, values, type Answer } from './answers.js';

export interface SeenRequest {
  readonly method: string;
  /** The moref that the method was called on. */
  readonly target: string;
  /** The element of the method with its parameters. */
  readonly element: XmlElement;
  readonly cookie: string | undefined;
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
}

export type Handler = (request: SeenRequest) => Answer | Promise<Answer>;

export const PASSWORD = 'pa<ss>&"wörd';
export const USERNAME = 'administrator@vsphere.local';

/** An HTTPS server that answers SOAP calls as a test tells it, and as a small vCenter where the test says nothing. */
export class ScriptedVCenter implements AsyncDisposable {
  readonly requests: SeenRequest[] = [];
  /** Bytes of application data that arrived, whoever sent them. */
  bytesReceived = 0;
  connections = 0;
  openConnections = 0;
  /** Properties by moref and path, as `val` elements. */
  readonly objects = new Map<string, { type: string; properties: Record<string, string> }>();
  readonly #handlers = new Map<string, Handler>();
  readonly #sessions = new Set<string>();
  #logins = 0;
  #pages = new Map<string, string[]>();

  private constructor(
    private readonly server: Server,
    private readonly folder: Disposable,
    readonly thumbprints: Thumbprints,
  ) {
    server.on('request', (request, response) => void this.#serve(request, response));
    server.on('connection', (socket: Socket) => {
      this.connections++;
      this.openConnections++;
      socket.once('close', () => this.openConnections--);
    });
    server.on('secureConnection', (socket: TLSSocket) => {
      socket.on('data', (chunk: Buffer) => (this.bytesReceived += chunk.length));
      socket.on('error', () => undefined);
    });
  }

  static async start(port = 0): Promise<ScriptedVCenter> {
    const folder = temporaryDirectory('scripted-vcenter');
    const key = join(folder.path, 'key.pem');
    const certificate = join(folder.path, 'certificate.pem');
    const options = [
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:P-256',
      '-nodes',
      '-subj',
      '/CN=vc',
    ];
    execFileSync('openssl', ['req', ...options, '-keyout', key, '-out', certificate], { stdio: 'ignore' });
    const cert = readFileSync(certificate, 'utf8');
    const server = createServer({ key: readFileSync(key), cert, keepAliveTimeout: 60_000 });
    server.listen(port, '127.0.0.1');
    await once(server, 'listening');
    const parsed = new X509Certificate(cert);
    return new ScriptedVCenter(server, folder, { sha256: parsed.fingerprint256, sha1: parsed.fingerprint });
  }

  get endpoint(): string {
    return `127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  get logins(): number {
    return this.#logins;
  }

  /** Answers a method from now on; several answers are given one after another, the last one for ever. */
  on(method: string, ...answers: (Answer | Handler)[]): this {
    let next = 0;
    this.#handlers.set(method, (request) => {
      const answer = answers[Math.min(next++, answers.length - 1)]!;
      return typeof answer === 'function' ? answer(request) : answer;
    });
    return this;
  }

  /** What the server does with a method when the test has not said otherwise. */
  builtIn(method: string, request: SeenRequest): Answer {
    switch (method) {
      case 'RetrieveServiceContent':
        return values(serviceContent());
      case 'Login':
        return this.#login(request);
      case 'Logout':
        this.#sessions.delete(request.cookie ?? '');
        return values();
      case 'CreateContainerView':
        return values(moref('returnval', 'ContainerView', `view-${request.element.child('type')?.text}`));
      case 'CreatePropertyCollector':
        return values(moref('returnval', 'PropertyCollector', 'collector-1'));
      case 'CreateFilter':
        return values(moref('returnval', 'PropertyFilter', 'filter-1'));
      case 'WaitForUpdatesEx':
        return values('<returnval><version>1</version></returnval>');
      case 'DestroyView':
      case 'DestroyPropertyCollector':
      case 'CancelTask':
        return values();
      case 'RetrievePropertiesEx':
        return this.#retrieve(request);
      case 'ContinueRetrievePropertiesEx':
        return this.#nextPage(request.element.child('token')?.text ?? '', 100);
      default:
        return fault('MethodNotFound', `${method} is not scripted`);
    }
  }

  /** Every session is forgotten, as after 30 idle minutes. */
  expireSessions(): void {
    this.#sessions.clear();
  }

  /** A VM `vm-<number>` with the recorded disks on a host of name `esx 9`. */
  addVm(name: string, number: number, properties: Record<string, string> = {}): void {
    this.objects.set('host-9', { type: 'HostSystem', properties: { name: val('xsd:string', 'esx 9') } });
    this.objects.set(`vm-${number}`, {
      type: 'VirtualMachine',
      properties: {
        name: val('xsd:string', name),
        'config.template': val('xsd:boolean', 'false'),
        'config.instanceUuid': val('xsd:string', `uuid-${number}`),
        'config.version': val('xsd:string', 'vmx-19'),
        'config.changeTrackingEnabled': val('xsd:boolean', 'false'),
        'config.hardware.device': pyvmomiReplies['devices']!,
        'capability.changeTrackingSupported': val('xsd:boolean', 'true'),
        'guest.toolsRunningStatus': val('xsd:string', 'guestToolsRunning'),
        'runtime.host': '<val type="HostSystem" xsi:type="ManagedObjectReference">host-9</val>',
        'runtime.powerState': val('VirtualMachinePowerState', 'poweredOn'),
        ...properties,
      },
    });
  }

  /** Gives a task this state; the answer of the method that starts it. */
  task(name: string, info: string): Answer {
    this.objects.set(name, { type: 'Task', properties: { info: val('TaskInfo', info) } });
    return values(moref('returnval', 'Task', name));
  }

  running(name: string): Answer {
    return this.task(name, '<state>running</state>');
  }

  /** @param result the `result` element */
  done(name: string, result = ''): Answer {
    return this.task(name, `<state>success</state>${result}`);
  }

  failed(name: string, faultName: string, message: string, fields = ''): Answer {
    const fault = `<fault xsi:type="${faultName}">${fields}</fault><localizedMessage>${message}</localizedMessage>`;
    return this.task(name, `<state>error</state><error>${fault}</error>`);
  }

  methods(): string[] {
    return this.requests.map((request) => request.method);
  }

  count(method: string): number {
    return this.methods().filter((called) => called === method).length;
  }

  /** The parameters of each call of a method, without the object: `name=sendense-job-1`. */
  parameters(method: string): string[][] {
    return this.requests
      .filter((request) => request.method === method)
      .map(({ element }) => element.children.slice(1).map((child) => `${child.name}=${child.text}`));
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    try {
      for await (const chunk of request) chunks.push(chunk as Buffer);
    } catch {
      return;
    }
    const body = Buffer.concat(chunks).toString();
    const element = parseXml(body).find('Body')!.children[0]!;
    const cookie = /vmware_soap_session=([^;]*)/.exec(request.headers.cookie ?? '')?.[1];
    const target = element.child('_this')?.text ?? '';
    const seen = { method: element.name, target, element, cookie, headers: request.headers, body };
    this.requests.push(seen);
    sendAnswer(seen.method, await this.#answer(seen), request, response);
  }

  async #answer(request: SeenRequest): Promise<Answer> {
    const open = ['RetrieveServiceContent', 'Login'].includes(request.method);
    if (!open && !this.#sessions.has(request.cookie ?? ''))
      return fault('NotAuthenticated', 'not authenticated');
    const handler = this.#handlers.get(request.method);
    return handler ? handler(request) : this.builtIn(request.method, request);
  }

  #login(request: SeenRequest): Answer {
    this.#logins++;
    const given = request.element.child('password')?.text;
    if (given !== PASSWORD || request.element.child('userName')?.text !== USERNAME) {
      return fault('InvalidLogin', 'Cannot complete login due to an incorrect user name or password.');
    }
    const cookie = `secret-cookie-${this.#logins}`;
    this.#sessions.add(cookie);
    return {
      values: ['<returnval><key>k</key></returnval>'],
      setCookie: `vmware_soap_session=${cookie}; Path=/; HttpOnly; Secure`,
    };
  }

  #retrieve(request: SeenRequest): Answer {
    const spec = request.element.child('specSet')!;
    const type = spec.find('propSet', 'type')!.text;
    const paths = spec
      .child('propSet')!
      .all('pathSet')
      .map((path) => path.text);
    const starts = spec.all('objectSet').map((start) => start.child('obj')!);
    const names = starts.flatMap((start) =>
      start.referenceType === 'ContainerView'
        ? [...this.objects].filter(([, object]) => object.type === type).map(([name]) => name)
        : [start.text],
    );
    const missing = names.find((name) => !this.objects.has(name));
    if (missing !== undefined) {
      return fault(
        'ManagedObjectNotFound',
        'The object has already been deleted',
        moref('obj', type, missing),
      );
    }
    const objects = names.map((name) => {
      const { properties } = this.objects.get(name)!;
      const set = paths.filter((path) => properties[path] !== undefined);
      const content = set
        .map((path) => `<propSet><name>${path}</name>${properties[path]}</propSet>`)
        .join('');
      return `<objects>${moref('obj', type, name)}${content}</objects>`;
    });
    this.#pages.set('page-0', objects);
    return this.#nextPage('page-0', Number(request.element.find('options', 'maxObjects')?.text));
  }

  #nextPage(token: string, count: number): Answer {
    const objects = this.#pages.get(token) ?? [];
    const rest = objects.slice(count);
    const next = `page-${rest.length}`;
    this.#pages.set(next, rest);
    if (objects.length === 0) return values();
    const tokenElement = rest.length > 0 ? `<token>${next}</token>` : '';
    return values(`<returnval>${tokenElement}${objects.slice(0, count).join('')}</returnval>`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.server.close();
    this.server.closeAllConnections();
    await once(this.server, 'close');
    this.folder[Symbol.dispose]();
  }
}

function serviceContent(): string {
  return (
    `<returnval>${moref('rootFolder', 'Folder', 'group-d1')}` +
    moref('propertyCollector', 'PropertyCollector', 'propertyCollector') +
    moref('viewManager', 'ViewManager', 'ViewManager') +
    '<about><name>VMware vCenter Server</name><fullName>VMware vCenter Server 8.0.2 build-1</fullName>' +
    '<vendor>VMware, Inc.</vendor><version>8.0.2</version><apiVersion>8.0.2.0</apiVersion>' +
    '<instanceUuid>2c1d-uuid</instanceUuid></about>' +
    moref('sessionManager', 'SessionManager', 'SessionManager') +
    `${moref('searchIndex', 'SearchIndex', 'SearchIndex')}</returnval>`
  );
}
