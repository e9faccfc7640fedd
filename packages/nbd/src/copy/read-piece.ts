import { errorCode, SendenseError, toSendenseError, type Extent } from '@sendense/core';
import { delay, type Logger } from '@sendense/runtime';
import type { NbdClient } from '../client/client.js';

/** VDDK reads whole sectors only; anything else is EIO. */
const SECTOR_BYTES = 512;

/** How long to wait before each new try of a read that failed; when they are used up the copy fails. */
const RETRY_AFTER_MS = [50, 250, 1000];

/**
 * Reads a piece into a buffer. A piece may end within a sector, where the disk does: the sector is read as a whole if the
 * export goes on.
 *
 * @returns the piece's bytes
 * @throws `nbd_read_failed` when it fails for good; the signal's reason
 */
export async function readPiece(
  source: Pick<NbdClient, 'export' | 'read'>,
  piece: Extent,
  buffer: Buffer,
  signal: AbortSignal,
  log: Logger,
): Promise<Buffer> {
  const { minBlockBytes, sizeBytes } = source.export;
  const unit = Math.max(SECTOR_BYTES, minBlockBytes);
  const end = Math.min(Math.ceil((piece.offset + piece.length) / unit) * unit, sizeBytes);
  for (let tries = 0; ; tries++) {
    try {
      const data = await source.read(piece.offset, end - piece.offset, buffer);
      return data.subarray(0, piece.length);
    } catch (error) {
      const failure = toSendenseError(error);
      const wait = RETRY_AFTER_MS[tries];
      if (errorCode(failure) !== 'nbd_read_failed' || !failure.retryable) throw failure;
      if (wait === undefined) throw givenUp(failure, tries + 1);
      log.warn(
        { offset: piece.offset, tries: tries + 1, error: failure.message },
        'read failed, trying again',
      );
      await delay(wait, signal);
    }
  }
}

function givenUp(failure: SendenseError, tries: number): SendenseError {
  return new SendenseError('nbd_read_failed', `${failure.message}; given up after ${tries} tries`, {
    context: { ...failure.context, tries },
    cause: failure,
  });
}
