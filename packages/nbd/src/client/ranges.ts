import { printable, SendenseError, type Extent } from '@sendense/core';
import type { NbdExport } from './export.js';

/** @throws `invalid_argument` for a range that does not lie inside of the export, or is not of whole blocks of the server */
export function requireRange(
  { sizeBytes, minBlockBytes }: NbdExport,
  exportName: string,
  { offset, length }: Extent,
): void {
  const end = offset + length;
  const whole = Number.isSafeInteger(offset) && Number.isSafeInteger(length);
  if (!whole || offset < 0 || length < 1 || end > sizeBytes) {
    throw new SendenseError(
      'invalid_argument',
      `${length} bytes at offset ${offset} are not inside of ${printable(exportName)}, which has ${sizeBytes}`,
    );
  }
  if (offset % minBlockBytes !== 0 || (end % minBlockBytes !== 0 && end !== sizeBytes)) {
    throw new SendenseError(
      'invalid_argument',
      `${length} bytes at offset ${offset} are not whole blocks of ${minBlockBytes} bytes, which the server of ${printable(exportName)} insists on`,
    );
  }
}

/**
 * Does something to a range in parts that are not too long for one request. All of them have settled when this does: until then
 * their buffer is not the caller's.
 *
 * @param send `at` counts from the start of the range
 * @throws the first failure
 */
export async function inParts(
  length: number,
  maxBytes: number,
  send: (at: number, length: number) => Promise<unknown>,
): Promise<void> {
  if (length <= maxBytes) {
    await send(0, length);
    return;
  }
  const parts: Promise<unknown>[] = [];
  for (let at = 0; at < length; at += maxBytes) parts.push(send(at, Math.min(maxBytes, length - at)));
  const failed = (await Promise.allSettled(parts)).find((part) => part.status === 'rejected');
  if (failed) throw failed.reason;
}
