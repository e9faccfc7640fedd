import { mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Extent } from '@sendense/core';
import { CHUNK_GRAINS, GRAIN_BYTES, GrainMap } from './grain-map.js';
import { grainsOf } from './layer.js';

export interface ChangeWindow {
  readonly from?: number;
  readonly most?: number;
}

/**
 * Which grains of a disk were written in which epoch. One sparse map for each epoch, so that what changed between two
 * snapshots is the union of the epochs between them, whatever was written later.
 */
export class ChangeLog {
  readonly #epochs = new Map<number, GrainMap>();

  private constructor(
    private readonly directory: string,
    private readonly id: string,
  ) {}

  /** @param id names the tracking's files: a changeId's first part as one path component */
  static open(directory: string, id: string): ChangeLog {
    mkdirSync(directory, { recursive: true });
    const log = new ChangeLog(directory, id);
    for (const file of readdirSync(directory)) {
      const match = file.startsWith(`${id}.`) ? /\.(\d+)\.map$/.exec(file) : null;
      if (match) log.#epochs.set(Number(match[1]), GrainMap.load(join(directory, file)));
    }
    return log;
  }

  record(epoch: number, { offset, length }: Extent): void {
    if (length === 0) return;
    let map = this.#epochs.get(epoch);
    if (!map) {
      map = GrainMap.create(this.#path(epoch), 0);
      this.#epochs.set(epoch, map);
    }
    const first = Math.floor(offset / GRAIN_BYTES);
    map.set(first, grainsOf(offset + length) - first, 1);
  }

  /** No more is written in this epoch: its file need not stay open. */
  finish(epoch: number): void {
    this.#epochs.get(epoch)?.close();
  }

  /**
   * Whole grains, cut at the disk's end: written after the end of epoch `after`, up to the end of `upTo`.
   * @param window from the grain of this offset on, and no more than so many extents
   */
  changed(
    after: number,
    upTo: number,
    sizeBytes: number,
    { from = 0, most = Infinity }: ChangeWindow = {},
  ): Extent[] {
    const maps = [...this.#epochs].filter(([epoch]) => epoch > after && epoch <= upTo).map(([, map]) => map);
    const numbers = [...new Set(maps.flatMap((map) => map.chunkNumbers()))].sort((a, b) => a - b);
    const changed: { offset: number; length: number }[] = [];
    for (const number of numbers) {
      const skipped = Math.floor(from / GRAIN_BYTES) - number * CHUNK_GRAINS;
      if (skipped >= CHUNK_GRAINS) continue;
      const marks = union(maps.map((map) => map.chunk(number)));
      for (let at = marks.indexOf(1, Math.max(0, skipped)); at !== -1; at = marks.indexOf(1, at + 1)) {
        const offset = (number * CHUNK_GRAINS + at) * GRAIN_BYTES;
        if (offset >= sizeBytes) break;
        const length = Math.min(GRAIN_BYTES, sizeBytes - offset);
        const last = changed.at(-1);
        if (last && last.offset + last.length === offset) last.length += length;
        else if (changed.length === most) return changed;
        else changed.push({ offset, length });
      }
    }
    return changed;
  }

  close(): void {
    for (const map of this.#epochs.values()) map.close();
  }

  discard(): void {
    for (const map of this.#epochs.values()) map.discard();
    this.#epochs.clear();
  }

  #path(epoch: number): string {
    return join(this.directory, `${this.id}.${epoch}.map`);
  }
}

/** A large disk has hundreds of thousands of grains, and each page of an answer looks at them. */
function union(chunks: readonly Uint8Array[]): Uint8Array {
  const [only, ...others] = chunks;
  if (only && others.length === 0) return only;
  const marks = new Uint8Array(CHUNK_GRAINS);
  for (const chunk of chunks) for (let at = 0; at < CHUNK_GRAINS; at++) if (chunk[at] !== 0) marks[at] = 1;
  return marks;
}
