import { Agent, request } from 'node:https';
import { delay } from '@sendense/runtime';
import { child, children, parseXml, type XmlElement } from '../src/soap/xml.js';
import type { Lab } from '../src/index.js';

export interface SoapReply {
  readonly status: number;
  /** The values that came back; empty for a fault. */
  readonly values: readonly XmlElement[];
  /** The type of the fault, or undefined. */
  readonly fault: string | undefined;
  readonly faultText: string | undefined;
  readonly cookie: string | undefined;
}

const escape = (text: string) => text.replace(/[&<>]/g, (c) => `&#${c.charCodeAt(0)};`);
export const element = (name: string, content: string | number | boolean) =>
  `<${name}>${escape(String(content))}</${name}>`;
export const refer = (name: string, type: string, moref: string) =>
  `<${name} type="${type}">${moref}</${name}>`;

/** A bare client of the lab's API, to look at what goes over the wire. */
export class SoapClient {
  cookie: string | undefined;
  readonly #agent = new Agent({ keepAlive: true, rejectUnauthorized: false });

  constructor(private readonly lab: Lab) {}

  static async login(lab: Lab): Promise<SoapClient> {
    const client = new SoapClient(lab);
    const reply = await client.call('Login', 'SessionManager', 'SessionManager', [
      element('userName', lab.username),
      element('password', lab.password),
    ]);
    if (reply.fault !== undefined) throw new Error(reply.fault);
    client.cookie = reply.cookie;
    return client;
  }

  async call(
    method: string,
    type: string,
    moref: string,
    parameters: readonly string[] = [],
  ): Promise<SoapReply> {
    const { status, body, cookie } = await this.post(
      `<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"><soapenv:Body><${method} xmlns="urn:vim25">` +
        `${refer('_this', type, moref)}${parameters.join('')}</${method}></soapenv:Body></soapenv:Envelope>`,
    );
    const content = child(parseXml(body), 'Body')!;
    const fault = child(content, 'Fault');
    const answer = child(content, `${method}Response`);
    return {
      status,
      cookie,
      values: answer ? children(answer, 'returnval') : [],
      fault: fault && child(fault, 'detail')?.children[0]?.xsiType,
      faultText: fault && child(fault, 'faultstring')?.text,
    };
  }

  /** @returns the moref of the only value */
  async value(
    method: string,
    type: string,
    moref: string,
    parameters: readonly string[] = [],
  ): Promise<string> {
    const reply = await this.call(method, type, moref, parameters);
    if (reply.fault !== undefined) throw new Error(`${reply.fault}: ${reply.faultText}`);
    return reply.values[0]!.text;
  }

  /** Runs a method with a task to its end. */
  async task(
    method: string,
    type: string,
    moref: string,
    parameters: readonly string[] = [],
  ): Promise<{
    readonly state: string;
    readonly result: string | undefined;
    readonly error: string | undefined;
  }> {
    const task = await this.value(method, type, moref, parameters);
    for (;;) {
      const info = (await this.call('Fetch', 'Task', task, [element('prop', 'info')])).values[0]!;
      const state = child(info, 'state')!.text;
      const error = child(info, 'error');
      if (state === 'success' || state === 'error') {
        return { state, result: child(info, 'result')?.text, error: error && child(error, 'fault')?.xsiType };
      }
      await delay(5);
    }
  }

  async post(body: string): Promise<{ status: number; body: string; cookie: string | undefined }> {
    return new Promise((resolve, reject) => {
      const { host, port } = this.lab;
      const headers = {
        'content-type': 'text/xml',
        ...(this.cookie === undefined ? {} : { cookie: this.cookie }),
      };
      const call = request(
        { host, port, path: '/sdk', method: 'POST', headers, agent: this.#agent },
        (response) => {
          let text = '';
          response.setEncoding('utf8').on('data', (chunk: string) => {
            text += chunk;
          });
          response.on('error', reject);
          response.on('end', () => {
            const cookie = response.headers['set-cookie']?.[0]?.split(';')[0];
            resolve({ status: response.statusCode ?? 0, body: text, cookie });
          });
        },
      );
      call.on('error', reject);
      call.end(body);
    });
  }

  async createSnapshot(vm: string, name: string, quiesce = false) {
    return this.task('CreateSnapshot_Task', 'VirtualMachine', vm, [
      element('name', name),
      element('memory', false),
      element('quiesce', quiesce),
    ]);
  }

  async removeSnapshot(snapshot: string) {
    return this.task('RemoveSnapshot_Task', 'VirtualMachineSnapshot', snapshot, [
      element('removeChildren', false),
    ]);
  }

  async changedAreas(vm: string, snapshot: string, deviceKey: number, startOffset: number, changeId: string) {
    const reply = await this.call('QueryChangedDiskAreas', 'VirtualMachine', vm, [
      refer('snapshot', 'VirtualMachineSnapshot', snapshot),
      element('deviceKey', deviceKey),
      element('startOffset', startOffset),
      element('changeId', changeId),
    ]);
    const info = reply.values[0];
    return {
      fault: reply.fault,
      startOffset: Number(info && child(info, 'startOffset')?.text),
      length: Number(info && child(info, 'length')?.text),
      areas: (info ? children(info, 'changedArea') : []).map((area) => ({
        offset: Number(child(area, 'start')!.text),
        length: Number(child(area, 'length')!.text),
      })),
    };
  }
}

/** A VM whose change tracking runs, logged in to. */
export async function trackedVm(lab: Lab, sizeBytes = 64 << 20): Promise<{ client: SoapClient; vm: string }> {
  const vm = await lab.createVm({ name: 'pgtest1', disks: [{ sizeBytes }], changeTrackingEnabled: true });
  return { client: await SoapClient.login(lab), vm: vm.moref };
}
