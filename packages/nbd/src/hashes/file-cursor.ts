import type { FileHandle } from 'node:fs/promises';
import { Blake3Hasher } from '@napi-rs/blake-hash';
import { toSendenseError } from '@sendense/core';
import { damagedHashes } from './damaged.js';

const READ_BYTES = 64 * 1024;

/** Reads a file from front to back in pieces of any size, and hashes what it hands out. */
export class FileCursor {
  readonly #hash = new Blake3Hasher();
  #ahead: Buffer = Buffer.alloc(0);

  constructor(
    private readonly file: FileHandle,
    private readonly path: string,
  ) {}

  /** The next `length` bytes, in a buffer of their own. @throws `block_hashes_invalid` when the file ends before */
  async take(length: number): Promise<Buffer> {
    const bytes = Buffer.allocUnsafe(length);
    for (let at = 0; at < length;) {
      if (this.#ahead.length === 0 && !(await this.#readAhead())) {
        throw damagedHashes(this.path, 'the file is cut off');
      }
      const count = this.#ahead.copy(bytes, at);
      this.#ahead = this.#ahead.subarray(count);
      at += count;
    }
    this.#hash.update(bytes);
    return bytes;
  }

  /** BLAKE3 of everything that was taken so far. */
  digest(): Buffer {
    return this.#hash.digestBuffer();
  }

  async atEnd(): Promise<boolean> {
    return this.#ahead.length === 0 && !(await this.#readAhead());
  }

  async #readAhead(): Promise<boolean> {
    try {
      const { bytesRead, buffer } = await this.file.read(Buffer.allocUnsafe(READ_BYTES), 0, READ_BYTES, null);
      this.#ahead = buffer.subarray(0, bytesRead);
      return bytesRead > 0;
    } catch (error) {
      throw toSendenseError(error, 'io_error');
    }
  }
}
