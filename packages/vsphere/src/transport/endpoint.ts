import { isIPv6 } from 'node:net';
import { SendenseError } from '@sendense/core';

/** Where a vCenter or ESXi host listens. */
export interface Endpoint {
  readonly host: string;
  readonly port: number;
  /** `host:port`, for messages, error contexts and the Host header. */
  readonly label: string;
}

const HOST_NAME =
  /^[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?$/;

/**
 * `host`, `host:port`, `[::1]:443`, `https://host[:port][/sdk]`.
 * @throws `invalid_argument`; the message does not repeat what was given, which may hold a password
 */
export function parseEndpoint(text: string): Endpoint {
  const trimmed = text.trim();
  const rest = trimmed.replace(/^https:\/\//i, '').replace(/\/(sdk\/?)?$/, '');
  if (rest.includes('@')) throw invalid('it holds a user name or password: give those on their own');
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(rest)) throw invalid('only https is spoken with vCenter');
  if (isIPv6(rest)) return endpoint(rest, 443);

  const parts = /^(?:\[([^\]]*)\]|([^:]*))(?::(\d{1,5}))?$/.exec(rest);
  const host = parts?.[1] ?? parts?.[2] ?? '';
  const port = Number(parts?.[3] ?? 443);
  const named = host.length <= 253 && HOST_NAME.test(host);
  const valid = parts?.[1] === undefined ? named : isIPv6(host);
  if (!valid || port < 1 || port > 65_535) {
    throw invalid('expected host, host:port or https://host[:port]/sdk');
  }
  return endpoint(host, port);
}

function endpoint(host: string, port: number): Endpoint {
  return { host, port, label: `${isIPv6(host) ? `[${host}]` : host}:${port}` };
}

function invalid(why: string): SendenseError {
  return new SendenseError('invalid_argument', `the vCenter endpoint is invalid: ${why}`);
}
