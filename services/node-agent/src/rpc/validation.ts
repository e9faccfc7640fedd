import type { VCenterConnection } from '@sendense/contracts';
import { SendenseError } from '@sendense/core';
import type { VCenterCredentials } from '../backup-client/spec.js';

/** Longer than anything that vSphere or a hub sends. */
const MAX_TEXT_LENGTH = 1024;
const MAX_SIGNED_32 = 2 ** 31 - 1;

export function invalid(field: string, expected: string): SendenseError {
  return new SendenseError('invalid_argument', `${field}: expected ${expected}`, { context: { field } });
}

/** One line without control characters: it goes to logs and, some of it, into command lines. */
export function text(field: string, value: string, what: string): string {
  if (value === '' || value.length > MAX_TEXT_LENGTH || /\p{Cc}/u.test(value)) throw invalid(field, what);
  return value;
}

/** As {@link text}, or empty. */
export function optional(field: string, value: string, what: string): string {
  return value === '' ? '' : text(field, value, what);
}

/** Becomes a folder, so it is one plain path component. */
export function jobId(field: string, value: string): string {
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/.test(value))
    throw invalid(field, 'a job id of letters, digits, dots, hyphens and underscores, at most 128');
  return value;
}

/** A managed object reference, `vm-57`. */
export function moref(field: string, value: string): string {
  if (!/^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$/.test(value)) throw invalid(field, 'a moref such as vm-57');
  return value;
}

export function diskKey(field: string, value: number): number {
  if (!Number.isInteger(value) || value < 0 || value > MAX_SIGNED_32)
    throw invalid(field, 'a vSphere device key such as 2000');
  return value;
}

/** A disk's size: whole sectors, because VDDK reads nothing smaller. */
export function capacity(field: string, value: bigint): number {
  if (value <= 0n || value > BigInt(Number.MAX_SAFE_INTEGER) || value % 512n !== 0n)
    throw invalid(field, 'a size in bytes, a multiple of 512');
  return Number(value);
}

export function port(field: string, value: number): number {
  if (!Number.isInteger(value) || value < 1 || value > 65_535) throw invalid(field, 'a port from 1 to 65535');
  return value;
}

/** @param thumbprint whether one must be there: without one nothing may be sent to the server */
export function vcenter(
  value: VCenterConnection | undefined,
  { thumbprint: needed } = { thumbprint: true },
): VCenterCredentials {
  if (!value) throw invalid('vcenter', 'how to reach a vCenter');
  const { endpoint, username, password, thumbprint } = value;
  if (!/^(https:\/\/)?(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:\d{1,5})?(\/[A-Za-z0-9._/-]*)?$/.test(endpoint))
    throw invalid('vcenter.endpoint', 'host, host:port or https://host:port');
  text('vcenter.username', username, 'a user name');
  if (password === '' || password.length > MAX_TEXT_LENGTH || password.includes('\0'))
    throw invalid('vcenter.password', 'a password');
  const hexadecimal = thumbprint.replaceAll(':', '');
  const wellFormed = /^([0-9A-Fa-f]{40}|[0-9A-Fa-f]{64})$/.test(hexadecimal);
  if (!wellFormed && (needed || thumbprint !== ''))
    throw invalid('vcenter.thumbprint', 'the SHA-256 or SHA-1 of the certificate, hexadecimal');
  return { endpoint, username, password, thumbprint };
}
