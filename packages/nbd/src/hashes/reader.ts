import { SendenseError } from '@sendense/core';
import type { BlockHashRun } from './format.js';

export interface BlockHashes extends AsyncDisposable {
  readonly sizeBytes: number;
  readonly blockBytes: number;
  /** The runs, ascending; throws `block_hashes_invalid` at the first thing that is not right, at the end at the latest. */
  runs(): AsyncIterable<BlockHashRun>;
}

export interface BlockHashesSummary {
  readonly sizeBytes: number;
  readonly blockBytes: number;
  readonly dataBlocks: number;
  readonly zeroBlocks: number;
}

export async function readBlockHashes(_path: string): Promise<BlockHashes> {
  throw new SendenseError('internal', 'not built yet');
}

/** Reads the whole file and checks structure and checksum. */
export async function verifyBlockHashesFile(_path: string): Promise<BlockHashesSummary> {
  throw new SendenseError('internal', 'not built yet');
}
