import { printable, SendenseError, throwIfAborted, toSendenseError } from '@sendense/core';
import { blockCount, HASH_BLOCK_BYTES, HASH_BYTES, hashBlock, type BlockHashRun } from '../hashes/format.js';
import type { RateLimit } from '../rate-limit.js';
import { expectations } from './expectations.js';
import { cutReads, VERIFY_READ_BYTES, type VerifyRead } from './reads.js';
import type { VerifySource } from './source.js';
import { ZeroStatus } from './zero-status.js';

/** One block that does not read as it must. */
export interface BlockMismatch {
  /** In bytes, of the block. */
  readonly offset: number;
  /** 64 KiB, or what the disk has left. */
  readonly length: number;
  /** What should be there. */
  readonly expected: 'zeros' | 'data';
  /** The server could not read it at all: what it said. */
  readonly unreadable?: string;
}

export interface VerifyOptions {
  /** Connected with `blockStatus`, so that what is known to be zeros need not be read. */
  readonly client: VerifySource;
  /** Ascending: what the disk was when it was backed up, see `mergedHashes`. */
  readonly hashes: AsyncIterable<BlockHashRun>;
  /** Of the disk. */
  readonly sizeBytes: number;
  readonly signal: AbortSignal;
  /** Bytes of the disk, whether they had to be read or not. Must be quick and not throw. */
  readonly onProgress?: ((bytesDone: number, bytesTotal: number) => void) | undefined;
  /** Told of each block; roughly ascending, as several reads are under way. Must be quick and not throw. */
  readonly onMismatch: (mismatch: BlockMismatch) => void;
  /** Of bytes that are read. */
  readonly rateLimit?: RateLimit | undefined;
}

export interface VerifyResult {
  /** All blocks of the disk. */
  readonly blocksChecked: number;
  readonly mismatches: number;
  /** The rest was known to be zeros, as it must be. */
  readonly bytesRead: number;
}

/** Each holds a buffer of 1 MiB. */
const READS_UNDER_WAY = 16;
const ZERO_BLOCK = Buffer.alloc(HASH_BLOCK_BYTES);

/**
 * Reads an export and compares every block with the hash that it must have, or with zeros where there is none. A block
 * that cannot be read is a mismatch, not the end. When it fails or is aborted the client is hung up.
 *
 * @throws the signal's reason; `nbd_connection_lost`; `disk_size_mismatch`; `block_hashes_invalid` and whatever else
 * `hashes` throws: what was reported until then may be the hashes' fault
 */
export async function verifyExport(options: VerifyOptions): Promise<VerifyResult> {
  const { client, sizeBytes, signal } = options;
  throwIfAborted(signal);
  if (client.export.sizeBytes < sizeBytes)
    throw new SendenseError(
      'disk_size_mismatch',
      `the disk has ${sizeBytes} bytes, but the NBD export ${printable(client.exportName)} only ${client.export.sizeBytes}`,
      { context: { expected_bytes: sizeBytes, found_bytes: client.export.sizeBytes } },
    );
  const verification = new Verification(options);
  const stop = () => verification.stop(reasonOf(signal));
  signal.addEventListener('abort', stop, { once: true });
  try {
    return await verification.run();
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

class Verification {
  readonly #reads: AsyncGenerator<VerifyRead, void, undefined>;
  readonly #stopped = new AbortController();
  #covered = 0;
  #bytesDone = 0;
  #bytesRead = 0;
  #mismatches = 0;

  constructor(private readonly options: VerifyOptions) {
    const { client, hashes, sizeBytes } = options;
    this.#reads = cutReads(expectations(hashes, sizeBytes), new ZeroStatus(client), sizeBytes);
  }

  async run(): Promise<VerifyResult> {
    const { sizeBytes, onProgress } = this.options;
    onProgress?.(0, sizeBytes);
    await Promise.all(Array.from({ length: READS_UNDER_WAY }, async () => this.#orStop(this.#work())));
    // Closes the files that the hashes come from, when it was stopped before their end.
    await this.#reads.return();
    throwIfAborted(this.#stopped.signal);
    if (this.#bytesDone < sizeBytes) onProgress?.(sizeBytes, sizeBytes);
    return {
      blocksChecked: blockCount(sizeBytes),
      mismatches: this.#mismatches,
      bytesRead: this.#bytesRead,
    };
  }

  /** Ends everything that is under way; the first reason counts. */
  stop(reason: SendenseError): void {
    if (this.#stopped.signal.aborted) return;
    this.#stopped.abort(reason);
    this.options.client.abandon(reason);
  }

  async #orStop(work: Promise<void>): Promise<void> {
    try {
      await work;
    } catch (error) {
      this.stop(toSendenseError(error));
    }
  }

  async #work(): Promise<void> {
    const { rateLimit, onProgress, sizeBytes } = this.options;
    const { signal } = this.#stopped;
    let buffer: Buffer | undefined;
    while (!signal.aborted) {
      const next = await this.#reads.next();
      if (next.done) return;
      const read = next.value;
      const end = read.offset + read.length;
      const covers = end - this.#covered;
      this.#covered = end;
      await rateLimit?.take(read.length, signal);
      buffer ??= Buffer.allocUnsafeSlow(VERIFY_READ_BYTES);
      await this.#check(read, buffer);
      this.#bytesRead += read.length;
      this.#bytesDone += covers;
      onProgress?.(this.#bytesDone, sizeBytes);
    }
  }

  async #check(read: VerifyRead, buffer: Buffer): Promise<void> {
    const { client } = this.options;
    try {
      const data = await client.read(read.offset, read.length, buffer);
      for (const block of blocksOf(read)) this.#compare(block, data.subarray(block.offset - read.offset));
    } catch (error) {
      if (toSendenseError(error).code !== 'nbd_read_failed') throw error;
      for (const block of blocksOf(read)) await this.#checkAlone(block, buffer);
    }
  }

  async #checkAlone(block: Block, buffer: Buffer): Promise<void> {
    try {
      this.#compare(block, await this.options.client.read(block.offset, block.length, buffer));
    } catch (error) {
      const { code, message } = toSendenseError(error);
      if (code !== 'nbd_read_failed') throw error;
      this.#report(block, message);
    }
  }

  #compare(block: Block, data: Buffer): void {
    const { length, hash } = block;
    const right = hash
      ? hashBlock(data.subarray(0, length)).equals(hash)
      : data.compare(ZERO_BLOCK, 0, length, 0, length) === 0;
    if (!right) this.#report(block);
  }

  #report({ offset, length, hash }: Block, unreadable?: string): void {
    this.#mismatches++;
    const expected = hash ? 'data' : 'zeros';
    this.options.onMismatch({
      offset,
      length,
      expected,
      ...(unreadable === undefined ? {} : { unreadable }),
    });
  }
}

interface Block {
  readonly offset: number;
  readonly length: number;
  /** Zeros when there is none. */
  readonly hash: Buffer | undefined;
}

function* blocksOf({ offset: start, length, expectations: parts }: VerifyRead): Generator<Block> {
  for (const { firstBlock, count, hashes } of parts) {
    for (let index = 0; index < count; index++) {
      const offset = (firstBlock + index) * HASH_BLOCK_BYTES;
      yield {
        offset,
        length: Math.min(HASH_BLOCK_BYTES, start + length - offset),
        hash: hashes?.subarray(index * HASH_BYTES, (index + 1) * HASH_BYTES),
      };
    }
  }
}

function reasonOf(signal: AbortSignal): SendenseError {
  const reason: unknown = signal.reason;
  return reason instanceof SendenseError
    ? reason
    : new SendenseError('cancelled', 'cancelled', { cause: reason });
}
