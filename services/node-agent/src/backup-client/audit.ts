import type { AuditedBlock } from '@sendense/contracts';
import { throwIfAborted, toSendenseError, type Extent, type SendenseError } from '@sendense/core';
import {
  HASH_BLOCK_BYTES,
  hashBlock,
  readPiece,
  type BufferPool,
  type NbdClient,
  type RateLimit,
} from '@sendense/nbd';
import type { Logger } from '@sendense/runtime';

export interface AuditRequest {
  readonly source: NbdClient;
  /** Numbers of blocks, ascending. */
  readonly blocks: readonly number[];
  /** Where the disk changed, says vCenter: ascending, disjoint. */
  readonly changed: readonly Extent[];
  readonly sizeBytes: number;
  /** Those of the copy: one of them holds all that is read at a time. */
  readonly buffers: BufferPool;
  readonly rateLimit: RateLimit | undefined;
  readonly log: Logger;
}

export interface AuditResult {
  /** Ascending. */
  readonly audited: readonly AuditedBlock[];
  /** Why some blocks could not be read: they are left out. */
  readonly failure?: SendenseError;
}

const ZEROS = Buffer.alloc(HASH_BLOCK_BYTES);
const NO_HASH = Buffer.alloc(0);

/**
 * Reads those blocks that vCenter says did not change, and hashes them: the hub knows what they must be. Changed block
 * tracking that misses a change is noticed by nothing else.
 *
 * A block that cannot be read spoils no backup that does not need it.
 * @throws `nbd_connection_lost` and others; the signal's reason, upon which the source is hung up
 */
export async function auditBlocks(request: AuditRequest, signal: AbortSignal): Promise<AuditResult> {
  const { source, buffers } = request;
  const blocks = untouched(request.blocks, request.changed);
  const audited: AuditedBlock[] = [];
  let failure: SendenseError | undefined;
  if (blocks.length === 0) return { audited };
  // Requests under way hold the buffer; only the end of their connection gives it back at once.
  const stop = () => source.abandon(toSendenseError(signal.reason, 'cancelled'));
  signal.addEventListener('abort', stop, { once: true });
  try {
    using loan = await buffers.acquire(signal);
    const atOnce = Math.max(1, Math.floor(loan.buffer.length / HASH_BLOCK_BYTES));
    for (let first = 0; first < blocks.length; first += atOnce) {
      const group = blocks.slice(first, first + atOnce);
      const results = await Promise.allSettled(
        group.map((block, index) => {
          const into = loan.buffer.subarray(index * HASH_BLOCK_BYTES, (index + 1) * HASH_BLOCK_BYTES);
          return auditBlock(request, block, into, signal);
        }),
      );
      throwIfAborted(signal);
      for (const result of results) {
        if (result.status === 'fulfilled') audited.push(result.value);
        else failure ??= unreadable(result.reason);
      }
    }
  } finally {
    signal.removeEventListener('abort', stop);
  }
  return failure ? { audited, failure } : { audited };
}

/** Passes errors on that are not about one block only. */
function unreadable(thrown: unknown): SendenseError {
  const error = toSendenseError(thrown);
  if (error.code !== 'nbd_read_failed') throw error;
  return error;
}

async function auditBlock(
  { source, sizeBytes, rateLimit, log }: AuditRequest,
  block: number,
  into: Buffer,
  signal: AbortSignal,
): Promise<AuditedBlock> {
  const offset = block * HASH_BLOCK_BYTES;
  const length = Math.min(HASH_BLOCK_BYTES, sizeBytes - offset);
  await rateLimit?.take(length, signal);
  const data = await readPiece(source, { offset, length }, into, signal, log);
  const zero = data.equals(ZEROS.subarray(0, length));
  return { block: BigInt(block), hash: zero ? NO_HASH : hashBlock(data) };
}

/** The blocks that no extent touches, not even with one byte. */
export function untouched(blocks: readonly number[], extents: readonly Extent[]): number[] {
  let next = 0;
  return blocks.filter((block) => {
    const start = block * HASH_BLOCK_BYTES;
    let extent = extents[next];
    while (extent && extent.offset + extent.length <= start) extent = extents[++next];
    return !extent || extent.offset >= start + HASH_BLOCK_BYTES;
  });
}
