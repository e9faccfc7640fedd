import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Extent } from '@sendense/core';
import { ABSENT, CHUNK_GRAINS, DATA, GRAIN_BYTES, ZERO } from './grain-map.js';
import { grainsOf, type Layer } from './layer.js';

const PIECE_BYTES = 1 << 20;
const ZEROS = new Uint8Array(PIECE_BYTES);

/** Grains in a row that one layer of a chain holds. */
interface HeldRun {
  readonly first: number;
  readonly count: number;
  readonly layer: Layer;
  readonly zero: boolean;
}

export interface WriteTarget {
  write(offset: number, data: Uint8Array): void;
  zero(offset: number, length: number): Promise<void>;
}

/** The layers of a disk, the oldest first: of each grain the newest layer that holds it counts. Only the last is written. */
export class Chain implements WriteTarget {
  constructor(
    private readonly layers: readonly Layer[],
    readonly sizeBytes: number,
  ) {}

  read(offset: number, length: number): Buffer {
    const content = Buffer.alloc(length);
    const end = offset + length;
    for (let at = offset; at < end;) {
      const grain = Math.floor(at / GRAIN_BYTES);
      const until = Math.min(end, (grain + 1) * GRAIN_BYTES);
      const layer = this.#holder(grain);
      if (layer?.map.get(grain) === DATA) layer.read(content.subarray(at - offset, until - offset), at);
      at = until;
    }
    return content;
  }

  write(offset: number, data: Uint8Array): void {
    if (data.length === 0) return;
    const end = offset + data.length;
    const top = this.#top;
    this.#copyUp(offset);
    this.#copyUp(end);
    const first = Math.floor(offset / GRAIN_BYTES);
    const after = grainsOf(end);
    if (holdsData(top, first, after)) top.write(data, offset);
    else top.writeIntoHole(data, offset);
    top.map.set(first, after - first, DATA);
  }

  /** Writes zeros. Whole grains that the top layer holds no content of cost no space. */
  async zero(offset: number, length: number): Promise<void> {
    const end = offset + length;
    const first = grainsOf(offset);
    const after = end === this.sizeBytes ? grainsOf(end) : Math.floor(end / GRAIN_BYTES);
    if (first >= after) {
      await this.#writeZeros(offset, end);
      return;
    }
    await this.#writeZeros(offset, first * GRAIN_BYTES);
    for (const run of this.#top.map.runs(first, after)) {
      if (run.value === DATA) await this.#overwriteWithZeros(run.first, run.count);
    }
    this.#top.map.set(first, after - first, ZERO);
    await this.#writeZeros(after * GRAIN_BYTES, end);
  }

  /** What was ever written, zeros included, in whole grains cut at the disk's end: ascending, disjoint. */
  *allocated(): Generator<Extent> {
    for (const { first, count } of this.#held()) yield this.#extentOf(first, count);
  }

  /** Writes everything that this chain holds, in whole grains. */
  async copyInto(target: WriteTarget): Promise<void> {
    const buffer = Buffer.allocUnsafe(PIECE_BYTES);
    let untilPause = PIECE_BYTES;
    for (const { first, count, layer, zero } of this.#held()) {
      const { offset, length } = this.#extentOf(first, count);
      if (zero) {
        await target.zero(offset, length);
        continue;
      }
      for (let done = 0; done < length; done += PIECE_BYTES) {
        const piece = buffer.subarray(0, Math.min(PIECE_BYTES, length - done));
        layer.read(piece, offset + done);
        target.write(offset + done, piece);
        untilPause -= piece.length;
        if (untilPause > 0) continue;
        await nextTurn();
        untilPause = PIECE_BYTES;
      }
    }
  }

  get #top(): Layer {
    const top = this.layers.at(-1);
    if (top === undefined) throw new RangeError('a chain needs a layer');
    return top;
  }

  #holder(grain: number): Layer | undefined {
    return this.layers.findLast((layer) => layer.map.get(grain) !== ABSENT);
  }

  /** Before a grain is written from or up to this offset in part, the rest of it moves into the top layer. */
  #copyUp(offset: number): void {
    const grain = Math.floor(offset / GRAIN_BYTES);
    const start = grain * GRAIN_BYTES;
    if (offset === start || offset >= this.sizeBytes || this.#top.map.get(grain) !== ABSENT) return;
    const below = this.#holder(grain);
    if (below?.map.get(grain) === DATA) {
      const length = Math.min(GRAIN_BYTES, this.sizeBytes - start);
      this.#top.write(this.read(start, length), start);
    }
    this.#top.map.set(grain, 1, DATA);
  }

  async #writeZeros(offset: number, end: number): Promise<void> {
    for (let at = offset; at < end; at += PIECE_BYTES) {
      this.write(at, ZEROS.subarray(0, Math.min(PIECE_BYTES, end - at)));
      await nextTurn();
    }
  }

  async #overwriteWithZeros(first: number, count: number): Promise<void> {
    const { offset, length } = this.#extentOf(first, count);
    for (let done = 0; done < length; done += PIECE_BYTES) {
      this.#top.write(ZEROS.subarray(0, Math.min(PIECE_BYTES, length - done)), offset + done);
      await nextTurn();
    }
  }

  #extentOf(first: number, count: number): Extent {
    const offset = first * GRAIN_BYTES;
    return { offset, length: Math.min(count * GRAIN_BYTES, this.sizeBytes - offset) };
  }

  *#held(): Generator<HeldRun> {
    const numbers = new Set(this.layers.flatMap((layer) => layer.map.chunkNumbers()));
    for (const number of [...numbers].sort((a, b) => a - b)) yield* this.#heldInChunk(number);
  }

  *#heldInChunk(number: number): Generator<HeldRun> {
    const base = number * CHUNK_GRAINS;
    const chunks = this.layers.map((layer) => ({ layer, states: layer.map.chunk(number) })).toReversed();
    const end = Math.min(CHUNK_GRAINS, grainsOf(this.sizeBytes) - base);
    let run: { first: number; count: number; layer: Layer; zero: boolean } | undefined;
    for (let at = 0; at < end; at++) {
      const found = chunks.find(({ states }) => states[at] !== ABSENT);
      const zero = found?.states[at] === ZERO;
      if (run && found && run.layer === found.layer && run.zero === zero) {
        run.count++;
        continue;
      }
      if (run) yield run;
      run = found && { first: base + at, count: 1, layer: found.layer, zero };
    }
    if (run) yield run;
  }
}

function holdsData(layer: Layer, first: number, after: number): boolean {
  for (let grain = first; grain < after; grain++) if (layer.map.get(grain) === DATA) return true;
  return false;
}
