import { SendenseError } from '@sendense/core';
import { isNodeName } from './names.js';

/** Tells a token from other text, and its layout from later ones. */
const PREFIX = 'sdn1.';
const MAX_LENGTH = 2048;
const FINGERPRINT = /^SHA256:[A-Za-z0-9+/]{43}$/;
const SECRET = /^[\x21-\x7e]{1,256}$/;

/** What an administrator carries from the hub to a new node. Whoever holds it can become that node, once. */
export interface EnrolmentToken {
  readonly nodeName: string;
  /** Known to the hub by its hash only. Printable ASCII without spaces, at most 256 characters. */
  readonly secret: string;
  /** `SHA256:…` of the hub's host key, so that the node trusts no other hub. */
  readonly hostKeyFingerprint: string;
}

/** `sdn1.` and base64url of JSON: one word, safe in a shell. @throws `invalid_argument` */
export function makeEnrolmentToken(token: EnrolmentToken): string {
  const problem = problemOf(token);
  if (problem !== undefined) throw new SendenseError('invalid_argument', `the enrolment token ${problem}`);
  const { nodeName, secret, hostKeyFingerprint } = token;
  const json = JSON.stringify({ node: nodeName, secret, host_key: hostKeyFingerprint });
  return `${PREFIX}${Buffer.from(json).toString('base64url')}`;
}

/** @throws `invalid_argument` when the text is not a whole token; the message never holds the token */
export function parseEnrolmentToken(text: string): EnrolmentToken {
  const trimmed = text.trim();
  if (!trimmed.startsWith(PREFIX)) {
    throw invalid(`does not start with ${PREFIX}`);
  }
  const token = fieldsOf(trimmed.slice(PREFIX.length, MAX_LENGTH));
  const problem = token === undefined ? 'is cut off or altered' : problemOf(token);
  if (token === undefined || problem !== undefined) throw invalid(problem ?? 'cannot be read');
  return token;
}

function fieldsOf(encoded: string): EnrolmentToken | undefined {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(encoded, 'base64url').toString('utf8'));
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null) return undefined;
  const { node, secret, host_key: hostKey } = value as Record<string, unknown>;
  if (typeof node !== 'string' || typeof secret !== 'string' || typeof hostKey !== 'string') return undefined;
  return { nodeName: node, secret, hostKeyFingerprint: hostKey };
}

function problemOf(token: EnrolmentToken): string | undefined {
  if (!isNodeName(token.nodeName)) return 'names no valid node';
  if (!SECRET.test(token.secret)) return 'has no valid secret';
  if (!FINGERPRINT.test(token.hostKeyFingerprint)) return 'has no valid host key fingerprint';
  return undefined;
}

function invalid(problem: string): SendenseError {
  return new SendenseError(
    'invalid_argument',
    `the enrolment token ${problem}: copy the whole line that the hub showed, or ask the hub for a new token`,
  );
}
