import { closeSync, ftruncateSync, openSync, readSync, rmSync, writeSync } from 'node:fs';

/** The unit in which disks are allocated and changes are tracked, as vSphere's changed block tracking has it. */
export const GRAIN_BYTES = 65_536;

/** Not in this layer: look below. */
export const ABSENT = 0;
/** In this layer, and nothing but zeros, which its file need not hold. */
export const ZERO = 1;
/** In this layer, with its content in the file. */
export const DATA = 2;

/** Grains in a row with the same value, which is not 0. */
export interface GrainRun {
  readonly first: number;
  readonly count: number;
  readonly value: number;
}

/** Grains are kept in memory in pieces of so many, and only those pieces that hold something: 256 MiB of a disk each. */
export const CHUNK_GRAINS = 4096;
const EMPTY_CHUNK = new Uint8Array(CHUNK_GRAINS);

/**
 * One byte for each grain of a disk, in a sparse file (which the stand-in library maps into its memory) and in memory. A huge
 * disk costs what it holds.
 *
 * Reading and writing is synchronous here and in the layers: it goes to the page cache, and a scattered guest write of a
 * few bytes would otherwise cost several turns of the thread pool. Whoever handles much does it in pieces.
 */
export class GrainMap {
  readonly #chunks: Map<number, Uint8Array>;
  #file: number | undefined;

  private constructor(
    readonly path: string,
    chunks: Map<number, Uint8Array>,
    file: number | undefined,
  ) {
    this.#chunks = chunks;
    this.#file = file;
  }

  static create(path: string, grains: number): GrainMap {
    const file = openSync(path, 'wx+');
    ftruncateSync(file, grains);
    return new GrainMap(path, new Map(), file);
  }

  static load(path: string): GrainMap {
    const file = openSync(path, 'r');
    try {
      return new GrainMap(path, readChunks(file), undefined);
    } finally {
      closeSync(file);
    }
  }

  get(grain: number): number {
    return this.#chunks.get(Math.floor(grain / CHUNK_GRAINS))?.[grain % CHUNK_GRAINS] ?? 0;
  }

  /** The pieces that hold something, ascending. */
  chunkNumbers(): number[] {
    return [...this.#chunks.keys()].sort((a, b) => a - b);
  }

  /** One such piece, to be read only. */
  chunk(number: number): Uint8Array {
    return this.#chunks.get(number) ?? EMPTY_CHUNK;
  }

  set(first: number, count: number, value: number): void {
    this.#file ??= openSync(this.path, 'r+');
    const end = first + count;
    for (let grain = first; grain < end;) {
      const number = Math.floor(grain / CHUNK_GRAINS);
      const start = grain - number * CHUNK_GRAINS;
      const stop = Math.min(CHUNK_GRAINS, end - number * CHUNK_GRAINS);
      let chunk = this.#chunks.get(number);
      if (!chunk) {
        chunk = new Uint8Array(CHUNK_GRAINS);
        this.#chunks.set(number, chunk);
      }
      if (chunk.subarray(start, stop).some((present) => present !== value)) {
        chunk.fill(value, start, stop);
        writeSync(this.#file, chunk, start, stop - start, grain);
      }
      grain = number * CHUNK_GRAINS + stop;
    }
  }

  /** Makes room for a grown disk. */
  extend(grains: number): void {
    this.#file ??= openSync(this.path, 'r+');
    ftruncateSync(this.#file, grains);
  }

  /** What is not 0 between two grains, ascending. */
  *runs(from = 0, to = Number.MAX_SAFE_INTEGER): Generator<GrainRun> {
    for (const number of this.chunkNumbers()) {
      const base = number * CHUNK_GRAINS;
      if (base >= to || base + CHUNK_GRAINS <= from) continue;
      const chunk = this.chunk(number);
      const end = Math.min(CHUNK_GRAINS, to - base);
      for (let at = Math.max(0, from - base); at < end;) {
        const value = chunk[at] ?? 0;
        let next = at + 1;
        while (next < end && chunk[next] === value) next++;
        if (value !== 0) yield { first: base + at, count: next - at, value };
        at = next;
      }
    }
  }

  close(): void {
    if (this.#file !== undefined) closeSync(this.#file);
    this.#file = undefined;
  }

  discard(): void {
    this.close();
    rmSync(this.path, { force: true });
  }
}

function readChunks(file: number): Map<number, Uint8Array> {
  const chunks = new Map<number, Uint8Array>();
  const piece = Buffer.alloc(256 * CHUNK_GRAINS);
  for (let position = 0; ; position += piece.length) {
    const count = readSync(file, piece, 0, piece.length, position);
    for (let at = 0; at < count; at += CHUNK_GRAINS) {
      const end = Math.min(at + CHUNK_GRAINS, count);
      if (piece.compare(EMPTY_CHUNK, 0, end - at, at, end) === 0) continue;
      const chunk = new Uint8Array(CHUNK_GRAINS);
      chunk.set(piece.subarray(at, end));
      chunks.set((position + at) / CHUNK_GRAINS, chunk);
    }
    if (count < piece.length) return chunks;
  }
}
