import type { BlockHashRun } from '../hashes/format.js';
import type { BlockHashWriter } from '../hashes/writer.js';

/**
 * Pieces are read in any order, but a `.hashes` file ascends: holds back the hashes of a piece until those of all pieces
 * before it are there. What is held is a 4096th part of the data that has run ahead.
 */
export class HashOrder {
  readonly #held = new Map<number, readonly BlockHashRun[]>();
  #next = 0;
  #hashedBlocks = 0;

  constructor(private readonly writer: BlockHashWriter) {}

  get hashedBlocks(): number {
    return this.#hashedBlocks;
  }

  /** @throws what writing the file throws */
  async add(sequence: number, runs: readonly BlockHashRun[]): Promise<void> {
    this.#held.set(sequence, runs);
    for (let ready = this.#held.get(this.#next); ready; ready = this.#held.get(this.#next)) {
      this.#held.delete(this.#next++);
      for (const run of ready) {
        this.#hashedBlocks += run.count;
        this.writer.append(run);
      }
    }
    await this.writer.drained();
  }
}
