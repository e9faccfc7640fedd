import { open, rm, type FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { Blake3Hasher } from '@napi-rs/blake-hash';
import { SendenseError, toSendenseError } from '@sendense/core';
import { syncDirectory } from '@sendense/runtime';
import {
  blockCount,
  encodeHeader,
  encodeRunHead,
  HASH_BYTES,
  MAX_DATA_RUN_BLOCKS,
  MAX_ZERO_RUN_BLOCKS,
  type BlockHashRun,
} from './format.js';

/** Runs are joined in memory and go to the file in writes of about this size. */
const WRITE_BYTES = 64 * 1024;

/** Writes a `.hashes` file. One that is not finished when it is disposed is removed. */
export class BlockHashWriter implements AsyncDisposable {
  readonly #blockCount: number;
  readonly #digest = new Blake3Hasher();
  readonly #waiting: Buffer[] = [];
  #waitingBytes = 0;
  #writing: Promise<void> | undefined;
  /** The run that may still grow. */
  #run: { kind: 'data' | 'zero'; firstBlock: number; count: number; hashes: Buffer[] } | undefined;
  #nextBlock = 0;
  #totalBlocks = 0;
  #state: 'open' | 'finished' | 'closed' = 'open';

  private constructor(
    readonly path: string,
    private readonly file: FileHandle,
    sizeBytes: number,
  ) {
    this.#blockCount = blockCount(sizeBytes);
    this.#put(encodeHeader(sizeBytes));
  }

  /** @throws `io_error` when the file exists or cannot be created */
  static async create(path: string, { sizeBytes }: { readonly sizeBytes: number }): Promise<BlockHashWriter> {
    try {
      return new BlockHashWriter(path, await open(path, 'wx', 0o640), sizeBytes);
    } catch (error) {
      throw toSendenseError(error, 'io_error');
    }
  }

  /**
   * Adds blocks, which must lie behind all those added before. What it keeps in memory is small as long as the caller
   * waits for {@link drained} now and then.
   *
   * @throws `invalid_argument` for blocks that are not in order, not on the disk, or whose hashes are not theirs
   */
  append(run: BlockHashRun): void {
    const { firstBlock, count } = run;
    const end = firstBlock + count;
    const hashes = run.kind === 'data' ? [run.hashes] : [];
    const fits = run.kind === 'zero' || run.hashes.length === count * HASH_BYTES;
    const whole = Number.isSafeInteger(firstBlock) && Number.isSafeInteger(count);
    if (
      this.#state !== 'open' ||
      !whole ||
      !fits ||
      count < 1 ||
      firstBlock < this.#nextBlock ||
      end > this.#blockCount
    ) {
      throw new SendenseError(
        'invalid_argument',
        `the hashes of ${count} blocks from block ${firstBlock} cannot be added to ${this.path}: ` +
          `blocks ${this.#nextBlock} to ${this.#blockCount} are still open, each with one hash`,
      );
    }
    const last = this.#run;
    if (last && last.kind === run.kind && last.firstBlock + last.count === firstBlock) {
      last.count += count;
      last.hashes.push(...hashes);
    } else {
      this.#endRun();
      this.#run = { kind: run.kind, firstBlock, count, hashes };
    }
    if (this.#run?.kind === 'data' && this.#run.count >= MAX_DATA_RUN_BLOCKS) this.#endRun();
    this.#nextBlock = end;
    this.#totalBlocks += count;
  }

  /** Resolves when there is room for more. @throws `io_error`, `out_of_space` */
  async drained(): Promise<void> {
    if (this.#waitingBytes >= WRITE_BYTES) await this.#flush();
  }

  /** Writes the trailer and makes the file durable. @throws `io_error`, `out_of_space` */
  async finish(): Promise<void> {
    this.#endRun();
    this.#put(encodeRunHead('trailer', 0, this.#totalBlocks));
    await this.#flush();
    try {
      await this.file.appendFile(this.#digest.digestBuffer());
      await this.file.sync();
      await syncDirectory(dirname(this.path));
    } catch (error) {
      throw toSendenseError(error, 'io_error');
    }
    this.#state = 'finished';
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#state === 'closed') return;
    const finished = this.#state === 'finished';
    this.#state = 'closed';
    await this.#writing?.catch(() => undefined); // whoever waited for it was told
    await this.file.close();
    if (!finished) await rm(this.path, { force: true });
  }

  /** Puts the current run into the queue, cut into runs that the format allows. */
  #endRun(): void {
    const run = this.#run;
    this.#run = undefined;
    if (!run) return;
    const hashes = Buffer.concat(run.hashes);
    const most = run.kind === 'data' ? MAX_DATA_RUN_BLOCKS : MAX_ZERO_RUN_BLOCKS;
    for (let at = 0; at < run.count; at += most) {
      const count = Math.min(most, run.count - at);
      this.#put(encodeRunHead(run.kind, count, run.firstBlock + at));
      if (run.kind === 'data') this.#put(hashes.subarray(at * HASH_BYTES, (at + count) * HASH_BYTES));
    }
  }

  #put(bytes: Buffer): void {
    this.#waiting.push(bytes);
    this.#waitingBytes += bytes.length;
  }

  async #flush(): Promise<void> {
    this.#writing ??= this.#write().finally(() => (this.#writing = undefined));
    await this.#writing;
  }

  async #write(): Promise<void> {
    try {
      while (this.#waiting.length > 0) {
        const bytes = Buffer.concat(this.#waiting.splice(0));
        this.#waitingBytes = 0;
        this.#digest.update(bytes);
        await this.file.appendFile(bytes);
      }
    } catch (error) {
      throw toSendenseError(error, 'io_error');
    }
  }
}
