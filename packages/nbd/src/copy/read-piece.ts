import { errorCode, SendenseError, toSendenseError, type Extent } from '@sendense/core';
import { delay, type Logger } from '@sendense/runtime';
import type { NbdClient } from '../client/client.js';

/** VDDK reads whole sectors only; anything else is EIO. */
const SECTOR_BYTES = 512;

/** How long to wait before each new try of a read that failed; when they are used up the copy fails. */
const RETRY_AFTER_MS = [50, 250, 1000];

type ReadFailures = readonly [signal: AbortSignal, log: Logger];

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
  ...failures: ReadFailures
): Promise<Buffer> {
  const length = wholeSectors(source, piece);
  const data = await retrying(() => source.read(piece.offset, length, buffer), piece, ...failures);
  return data.subarray(0, piece.length);
}

/**
 * Reads a piece in slices (see `NbdClient.readSlices`), with its last sector as a whole. When the read is tried again, slices
 * that had come come again.
 *
 * @throws as {@link readPiece}
 */
export async function readPieceInSlices(
  source: Pick<NbdClient, 'export' | 'readSlices'>,
  piece: Extent,
  take: (at: number, slice: Buffer) => void,
  ...failures: ReadFailures
): Promise<void> {
  const length = wholeSectors(source, piece);
  await retrying(() => source.readSlices(piece.offset, length, take), piece, ...failures);
}

/** @returns the length of what is read for a piece */
function wholeSectors(source: Pick<NbdClient, 'export'>, { offset, length }: Extent): number {
  const { minBlockBytes, sizeBytes } = source.export;
  const unit = Math.max(SECTOR_BYTES, minBlockBytes);
  return Math.min(Math.ceil((offset + length) / unit) * unit, sizeBytes) - offset;
}

async function retrying<T>(
  read: () => Promise<T>,
  { offset }: Extent,
  ...[signal, log]: ReadFailures
): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await read();
    } catch (error) {
      const failure = toSendenseError(error);
      const wait = RETRY_AFTER_MS[tries - 1];
      if (errorCode(failure) !== 'nbd_read_failed' || !failure.retryable) throw failure;
      if (wait === undefined) throw givenUp(failure, tries);
      log.warn({ offset, tries, error: failure.message }, 'read failed, trying again');
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
