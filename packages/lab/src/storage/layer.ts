import { closeSync, fstatSync, ftruncateSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { GRAIN_BYTES, GrainMap } from './grain-map.js';

export function grainsOf(sizeBytes: number): number {
  return Math.ceil(sizeBytes / GRAIN_BYTES);
}

/** What file systems allocate at once. */
const BLOCK_BYTES = 4096;
const ZERO_BLOCK = new Uint8Array(BLOCK_BYTES);

/** One redo-log layer of a disk: a sparse raw file and the map of the grains that it holds. */
export class Layer {
  #file: number | undefined;

  private constructor(
    readonly id: string,
    readonly dataPath: string,
    readonly map: GrainMap,
    file: number,
    private size: number,
  ) {
    this.#file = file;
  }

  static create(directory: string, id: string, sizeBytes: number): Layer {
    const dataPath = join(directory, `${id}.raw`);
    const file = openSync(dataPath, 'wx+');
    ftruncateSync(file, sizeBytes);
    const map = GrainMap.create(join(directory, `${id}.map`), grainsOf(sizeBytes));
    return new Layer(id, dataPath, map, file, sizeBytes);
  }

  static load(directory: string, id: string): Layer {
    const dataPath = join(directory, `${id}.raw`);
    const map = GrainMap.load(join(directory, `${id}.map`));
    const file = openSync(dataPath, 'r+');
    return new Layer(id, dataPath, map, file, fstatSync(file).size);
  }

  get sizeBytes(): number {
    return this.size;
  }

  /** Fills the buffer from the file; beyond its end with zeros. */
  read(into: Uint8Array, offset: number): void {
    for (let done = 0; done < into.length;) {
      const count = readSync(this.#open(), into, done, into.length - done, offset + done);
      if (count === 0) {
        into.fill(0, done);
        return;
      }
      done += count;
    }
  }

  /** Writes to the file alone; the map is the caller's business, afterwards. */
  write(data: Uint8Array, offset: number): void {
    for (let done = 0; done < data.length;) {
      done += writeSync(this.#open(), data, done, data.length - done, offset + done);
    }
  }

  /** The same where the file holds nothing but zeros yet: blocks of zeros stay holes. */
  writeIntoHole(data: Uint8Array, offset: number): void {
    let from = 0;
    for (let at = 0; at < data.length; at += BLOCK_BYTES) {
      const end = Math.min(at + BLOCK_BYTES, data.length);
      if (Buffer.compare(data.subarray(at, end), ZERO_BLOCK.subarray(0, end - at)) !== 0) continue;
      this.write(data.subarray(from, at), offset + from);
      from = end;
    }
    this.write(data.subarray(from), offset + from);
  }

  grow(sizeBytes: number): void {
    if (sizeBytes <= this.size) return;
    ftruncateSync(this.#open(), sizeBytes);
    this.map.extend(grainsOf(sizeBytes));
    this.size = sizeBytes;
  }

  /** Nothing is open any more until it is used again. */
  close(): void {
    if (this.#file !== undefined) closeSync(this.#file);
    this.#file = undefined;
    this.map.close();
  }

  /** Removes the files. Whoever has them open goes on reading what they held. */
  discard(): void {
    this.close();
    this.map.discard();
    rmSync(this.dataPath, { force: true });
  }

  #open(): number {
    this.#file ??= openSync(this.dataPath, 'r+');
    return this.#file;
  }
}
