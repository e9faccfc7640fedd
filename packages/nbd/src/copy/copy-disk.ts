import { SendenseError, type Extent } from '@sendense/core';
import type { Logger } from '@sendense/runtime';
import type { BufferPool } from '../buffer-pool.js';
import type { NbdClient } from '../client/client.js';
import type { BlockHashWriter } from '../hashes/writer.js';
import type { RateLimit } from '../rate-limit.js';

export interface CopyOptions {
  readonly source: NbdClient;
  /** Connections to one and the same export; the work is spread over them. At least one. */
  readonly targets: readonly NbdClient[];
  /** What to copy, in any order. */
  readonly extents: readonly Extent[];
  /** The disk's size. Source and target must be at least as large. */
  readonly sizeBytes: number;
  /** The target shows older data where nothing is written, so zeros must be written; without it it reads as zeros. */
  readonly targetHasBacking: boolean;
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
  /** Zeros of the extents, written without data, or left out where the target reads as zeros anyway. */
  readonly bytesZeroed: number;
  readonly hashedBlocks: number;
}

export async function copyDisk(_options: CopyOptions): Promise<CopyResult> {
  throw new SendenseError('internal', 'not built yet');
}
