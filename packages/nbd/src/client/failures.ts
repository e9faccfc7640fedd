import { printable, SendenseError, type ErrorCode } from '@sendense/core';
import { ERROR_NAMES, type Command } from './protocol.js';

/** What was asked for, as far as errors tell it. */
export interface Asked {
  readonly command: Command;
  readonly offset: number;
  readonly length: number;
}

/** The server broke the protocol: nothing that it says can be trusted any more. */
export function protocolError(server: string, what: string): SendenseError {
  return new SendenseError('nbd_protocol', `the NBD server at ${server} cannot be used: ${what}`, {
    context: { server },
  });
}

/** `reading 65536 bytes at offset 131072` */
export function describeRequest({ command, offset, length }: Asked): string {
  const doing = {
    READ: 'reading',
    WRITE: 'writing',
    WRITE_ZEROES: 'writing zeros over',
    BLOCK_STATUS: 'asking for the status of',
    FLUSH: 'flushing',
  }[command];
  return command === 'FLUSH' ? doing : `${doing} ${length} bytes at offset ${offset}`;
}

/** EIO and ENOMEM pass: VDDK runs out of buffers under load, and a path to a datastore comes back. */
const TRANSIENT = new Set(['EIO', 'ENOMEM']);

/** The server carried out a request and failed; the connection is as good as before. */
export function requestFailed(
  server: string,
  exportName: string,
  asked: Asked,
  errno: number,
  said: string,
): SendenseError {
  const name = ERROR_NAMES[errno] ?? `error ${errno}`;
  const writing = asked.command !== 'READ' && asked.command !== 'BLOCK_STATUS';
  const full = writing && name === 'ENOSPC';
  const code: ErrorCode = full ? 'out_of_space' : writing ? 'nbd_write_failed' : 'nbd_read_failed';
  const detail = said === '' ? '' : `: ${printable(said)}`;
  const advice = full ? '; free space on the file system of the target' : '';
  return new SendenseError(
    code,
    `${describeRequest(asked)} of ${shown(exportName)} at ${server} failed with ${name}${detail}${advice}`,
    {
      context: { server, exportName, offset: asked.offset, length: asked.length, error: name },
      retryable: TRANSIENT.has(name),
    },
  );
}

export function cannotConnect(server: string, cause: unknown): SendenseError {
  if (cause instanceof SendenseError) return cause;
  const why = messageOf(cause) ?? String(cause);
  return new SendenseError('nbd_connection_lost', `the NBD server at ${server} cannot be reached: ${why}`, {
    context: { server },
    cause,
    retryable: true,
  });
}

/** The connection ended while this was asked. */
export function connectionLost(
  server: string,
  exportName: string,
  asked: Asked | undefined,
  reason: unknown,
): SendenseError {
  if (reason instanceof SendenseError && reason.code !== 'nbd_connection_lost') return reason;
  const why = messageOf(reason) ?? 'the server closed it';
  const during = asked ? ` while ${describeRequest(asked)}` : '';
  return new SendenseError(
    'nbd_connection_lost',
    `the NBD connection to ${shown(exportName)} at ${server} ended${during}: ${why}`,
    {
      context: { server, exportName, ...(asked ? { offset: asked.offset, length: asked.length } : {}) },
      cause: reason,
      retryable: true,
    },
  );
}

/** nbdkit serves its one disk under the empty name. */
function shown(exportName: string): string {
  return exportName === '' ? 'the export' : printable(exportName);
}

/** Also of errors that come from another realm, where `instanceof` does not help. */
function messageOf(error: unknown): string | undefined {
  const isMessage = typeof error === 'object' && error !== null && 'message' in error;
  return isMessage && typeof error.message === 'string' ? error.message : undefined;
}
