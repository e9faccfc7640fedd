import { SendenseError, throwIfAborted } from '@sendense/core';
import type { Endpoint } from './endpoint.js';

const UNREACHABLE: Readonly<Partial<Record<string, string>>> = {
  ECONNREFUSED: 'connection refused',
  ECONNRESET: 'the connection was reset',
  ECONNABORTED: 'the connection was aborted',
  EPIPE: 'the connection was closed',
  ENOTFOUND: 'its name cannot be resolved',
  EAI_AGAIN: 'its name cannot be resolved now',
  ETIMEDOUT: 'no answer to the attempt to connect',
  EHOSTUNREACH: 'no route to the host',
  ENETUNREACH: 'no route to its network',
  EHOSTDOWN: 'the host is down',
  EADDRNOTAVAIL: 'no local address left for a connection',
};

/** The endpoint did not answer, or stopped to. */
export function unreachable(endpoint: Endpoint, why: string, cause?: unknown): SendenseError {
  return new SendenseError(
    'vcenter_unreachable',
    `${endpoint.label} cannot be reached: ${why}. Check address, port and firewall, and that vCenter is running`,
    { context: { endpoint: endpoint.label }, cause, retryable: true },
  );
}

/** Something answered, but not as a vCenter does. */
export function protocolFailure(endpoint: Endpoint, why: string, cause?: unknown): SendenseError {
  return new SendenseError(
    'vcenter_protocol',
    `${endpoint.label} does not answer like a vCenter or ESXi host: ${why}. Check that the address is that of its API`,
    { context: { endpoint: endpoint.label }, cause },
  );
}

/** What an error of a socket or of the HTTP parser means. The caller's own abort comes first: it explains the rest. */
export function transportFailure(endpoint: Endpoint, error: unknown, signal?: AbortSignal): SendenseError {
  throwIfAborted(signal);
  if (error instanceof SendenseError) return error;
  const code = typeof error === 'object' && error !== null && 'code' in error ? String(error.code) : '';
  const known = UNREACHABLE[code];
  if (known !== undefined) return unreachable(endpoint, known, error);
  if (code.startsWith('HPE_')) return protocolFailure(endpoint, 'the answer is no HTTP', error);
  if (code === 'EPROTO' || code.startsWith('ERR_SSL') || code.startsWith('ERR_TLS')) {
    return protocolFailure(endpoint, `the TLS handshake failed (${code})`, error);
  }
  return unreachable(endpoint, error instanceof Error ? error.message : String(error), error);
}
