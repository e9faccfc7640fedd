import { printable, SendenseError, throwIfAborted, toSendenseError, type Extent } from '@sendense/core';
import type { Logger } from '@sendense/runtime';
import type { BufferPool } from '../buffer-pool.js';
import type { NbdClient } from '../client/client.js';
import { HASH_BLOCK_BYTES } from '../hashes/format.js';
import type { BlockHashWriter } from '../hashes/writer.js';
import type { RateLimit } from '../rate-limit.js';
import { HashOrder } from './hash-order.js';
import { PieceCopy } from './piece-copy.js';
import { bytesToRead, cutPieces, MAX_PIECE_BYTES, type Piece } from './pieces.js';
import { readPieceInSlices } from './read-piece.js';

/** What a copy needs of where it reads; an NBD client, or a stand-in for one. */
export type CopySource = Pick<NbdClient, 'export' | 'exportName' | 'lost' | 'readSlices' | 'abandon'>;

export interface CopyOptions {
  readonly source: CopySource;
  /** Connections to one and the same export; the work is spread over them. At least one. */
  readonly targets: readonly NbdClient[];
  /** What to copy, in any order. */
  readonly extents: readonly Extent[];
  /** The disk's size. Source and target must be at least as large. */
  readonly sizeBytes: number;
  /** The target shows older data where nothing is written, so zeros must be written; without it it reads as zeros. */
  readonly targetHasBacking: boolean;
  /** Takes the hash of every block that an extent touches. The caller finishes it. */
  readonly hashes?: BlockHashWriter;
  readonly buffers: BufferPool;
  /** Of bytes read from the source. */
  readonly rateLimit?: RateLimit;
  /** Called at the start and whenever a piece is done; must be quick and not throw. */
  readonly onProgress?: (bytesDone: number, bytesTotal: number) => void;
  readonly signal: AbortSignal;
  readonly log: Logger;
}

export interface CopyResult {
  readonly bytesRead: number;
  /** Sent to the target as data. */
  readonly bytesWritten: number;
  /** Zeros that were written without data, or left out where the target reads as zeros anyway. */
  readonly bytesZeroed: number;
  readonly hashedBlocks: number;
}

/** Pieces of one disk under way at a time, when the buffers allow. */
const MAX_PIECES_UNDER_WAY = 64;

/**
 * Copies extents of a disk from one NBD export to another and flushes the target.
 *
 * Whole blocks are read and hashed. A target with backing gets exactly the extents, zeros included: where nothing is
 * written it shows what lies beneath. A target without backing gets whole blocks and no zeros.
 *
 * When it fails or is aborted, source and targets are hung up: requests under way hold buffers, and only the end of
 * their connection gives these back at once.
 *
 * @throws the signal's reason; `nbd_read_failed` (after retries) and `nbd_write_failed` with the offset;
 * `nbd_connection_lost` with the offset; `out_of_space`; `disk_size_mismatch`; what the hash writer throws
 */
export async function copyDisk(options: CopyOptions): Promise<CopyResult> {
  throwIfAborted(options.signal);
  checkSizes(options);
  const copy = new DiskCopy(options);
  const { signal } = options;
  const stop = () => copy.stop(reasonOf(signal));
  signal.addEventListener('abort', stop, { once: true });
  try {
    return await copy.run();
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

/** A server's connections end one after another, and not all of them are asked something. */
const LOST_MS = 250;

class DiskCopy {
  readonly #pieces: Iterator<Piece, void>;
  readonly #targets: readonly NbdClient[];
  readonly #hashes: HashOrder | undefined;
  /** Aborted with the first failure, which stops everything else. */
  readonly #stopped = new AbortController();
  readonly #bytesTotal: number;
  #bytesRead = 0;
  #bytesWritten = 0;
  #bytesZeroed = 0;
  /** From then on its clients are nothing to it. */
  #ended = false;

  constructor(private readonly options: CopyOptions) {
    const { extents, sizeBytes, buffers, hashes, targets } = options;
    const pieceBytes = Math.min(
      buffers.bufferBytes - (buffers.bufferBytes % HASH_BLOCK_BYTES),
      MAX_PIECE_BYTES,
    );
    if (pieceBytes === 0 || targets[0] === undefined)
      throw new SendenseError('invalid_argument', 'a copy needs a target, and buffers of at least 64 KiB');
    this.#bytesTotal = bytesToRead(extents, sizeBytes);
    this.#pieces = cutPieces(extents, { sizeBytes, pieceBytes, exactly: options.targetHasBacking });
    this.#hashes = hashes && new HashOrder(hashes);
    // Without MULTI_CONN a server may keep what one connection wrote from the others.
    this.#targets = targets[0].export.canMultiConn ? targets : targets.slice(0, 1);
    if (this.#targets.length < targets.length)
      options.log.warn(
        { connections: targets.length },
        'the target does not allow several connections: one is used',
      );
  }

  async run(): Promise<CopyResult> {
    const { buffers, onProgress } = this.options;
    onProgress?.(0, this.#bytesTotal);
    this.#stopWhenLost();
    const workers = Math.min(buffers.count, MAX_PIECES_UNDER_WAY);
    await Promise.all(Array.from({ length: workers }, async () => this.#orStop(this.#work())));
    await Promise.all(this.#targets.map(async (target) => this.#orStop(target.flush())));
    throwIfAborted(this.#stopped.signal);
    this.#ended = true;
    return {
      bytesRead: this.#bytesRead,
      bytesWritten: this.#bytesWritten,
      bytesZeroed: this.#bytesZeroed,
      hashedBlocks: this.#hashes?.hashedBlocks ?? 0,
    };
  }

  /** Ends everything that is under way; the first reason counts. */
  stop(reason: SendenseError): void {
    if (this.#stopped.signal.aborted) return;
    this.#stopped.abort(reason);
    for (const client of [this.options.source, ...this.options.targets]) client.abandon(reason);
  }

  /**
   * Nobody may ask a connection for anything for long: all wait for their share of the rate, or for buffers of another disk.
   * Where something is asked for, that fails first, and says where it was.
   */
  #stopWhenLost(): void {
    for (const client of [this.options.source, ...this.#targets])
      void client.lost.then((error) => {
        if (error) setTimeout(() => this.#ended || this.stop(error), LOST_MS).unref();
      });
  }

  async #orStop(work: Promise<void>): Promise<void> {
    try {
      await work;
    } catch (error) {
      this.stop(toSendenseError(error));
    }
  }

  async #work(): Promise<void> {
    const { buffers, rateLimit, onProgress } = this.options;
    const { signal } = this.#stopped;
    for (;;) {
      const next = this.#pieces.next();
      if (next.done) return;
      const piece = next.value;
      // What is between reading and the target's answer counts as held, wherever it is.
      using _loan = await buffers.acquire(signal);
      await rateLimit?.take(piece.length, signal);
      await this.#copy(piece, signal);
      this.#bytesRead += piece.length;
      onProgress?.(this.#bytesRead, this.#bytesTotal);
    }
  }

  async #copy(piece: Piece, signal: AbortSignal): Promise<void> {
    const { source, targetHasBacking, log } = this.options;
    const target = () => this.#leastBusyTarget();
    const copy = new PieceCopy({ piece, target, targetHasBacking, hashing: this.#hashes !== undefined });
    await readPieceInSlices(source, piece, (at, slice) => copy.take(at, slice), signal, log);
    await this.#hashes?.add(piece.sequence, copy.hashes);
    const { bytesWritten, bytesZeroed } = await copy.write();
    this.#bytesWritten += bytesWritten;
    this.#bytesZeroed += bytesZeroed;
  }

  #leastBusyTarget(): NbdClient {
    return this.#targets.reduce((least, target) =>
      target.bytesUnderWay < least.bytesUnderWay ? target : least,
    );
  }
}

function checkSizes({ source, targets, sizeBytes }: CopyOptions): void {
  for (const client of [source, ...targets]) {
    if (client.export.sizeBytes < sizeBytes) {
      throw new SendenseError(
        'disk_size_mismatch',
        `the disk has ${sizeBytes} bytes, but the NBD export ${printable(client.exportName)} only ${client.export.sizeBytes}`,
        { context: { exportName: client.exportName } },
      );
    }
  }
  const readOnly = targets.find((target) => target.export.readOnly);
  if (readOnly)
    throw new SendenseError('nbd_refused', `the NBD export ${printable(readOnly.exportName)} is read-only`);
}

function reasonOf(signal: AbortSignal): SendenseError {
  const reason: unknown = signal.reason;
  return reason instanceof SendenseError
    ? reason
    : new SendenseError('cancelled', 'cancelled', { cause: reason });
}
