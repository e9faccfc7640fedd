import type { IncomingMessage } from 'node:http';
import { optionalReference } from './arguments.js';
import type { Reference } from './value.js';
import { child, parseXml, type XmlElement } from './xml.js';

const LARGEST_REQUEST_BYTES = 16 << 20;
const COOKIE = 'vmware_soap_session';

/** One call as it came over the wire. */
export interface SoapCall {
  readonly method: string;
  readonly target: Reference;
  readonly arguments: XmlElement;
}

/** What came is no call. */
export class BadRequest extends Error {}

/** @throws BadRequest when it is larger than any call */
export async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > LARGEST_REQUEST_BYTES) throw new BadRequest('The request is too large.');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** @throws BadRequest */
export function readCall(document: string): SoapCall {
  let root: XmlElement;
  try {
    root = parseXml(document);
  } catch (error) {
    throw new BadRequest(`The request is no well-formed XML: ${String(error)}`);
  }
  const call = child(root, 'Body')?.children[0];
  const target = call && optionalReference(call, '_this');
  if (!call || !target) throw new BadRequest('The request holds no call.');
  return { method: call.name, target, arguments: call };
}

/** The session that the client says it has. */
export function cookieOf(request: IncomingMessage): string | undefined {
  return new RegExp(`${COOKIE}="?([0-9a-f]+)"?`).exec(request.headers.cookie ?? '')?.[1];
}

/** What a login answers with, for the client to send back. */
export function sessionCookie(value: string): string {
  return `${COOKIE}="${value}"; Path=/; HttpOnly; Secure;`;
}
