import { SendenseError } from '@sendense/core';
import type { BlockHashRun } from './format.js';

/** Writes a `.hashes` file. What was not finished is removed. */
export class BlockHashWriter implements AsyncDisposable {
  static async create(_path: string, _options: { readonly sizeBytes: number }): Promise<BlockHashWriter> {
    throw new SendenseError('internal', 'not built yet');
  }
  /** Adds blocks; those of one call follow those of the calls before. */
  async append(_run: BlockHashRun): Promise<void> {}
  /** Writes the trailer and makes the file durable. */
  async finish(): Promise<void> {}
  async [Symbol.asyncDispose](): Promise<void> {}
}
