import { open, rm, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { GRAIN_BYTES, GrainMap } from './grain-map.js';

export function grainsOf(sizeBytes: number): number {
  return Math.ceil(sizeBytes / GRAIN_BYTES);
}

/** One redo-log layer of a disk: a sparse raw file and the map of the grains that it holds. */
export class Layer {
  #file: FileHandle | undefined;

  private constructor(
    readonly id: string,
    readonly dataPath: string,
    readonly map: GrainMap,
    private size: number,
  ) {}

  static async create(directory: string, id: string, sizeBytes: number): Promise<Layer> {
    const dataPath = join(directory, `${id}.raw`);
    await using file = await open(dataPath, 'wx');
    await file.truncate(sizeBytes);
    const map = await GrainMap.create(join(directory, `${id}.map`), grainsOf(sizeBytes));
    return new Layer(id, dataPath, map, sizeBytes);
  }

  static async load(directory: string, id: string): Promise<Layer> {
    const dataPath = join(directory, `${id}.raw`);
    await using file = await open(dataPath, 'r');
    const { size } = await file.stat();
    return new Layer(id, dataPath, await GrainMap.load(join(directory, `${id}.map`)), size);
  }

  get sizeBytes(): number {
    return this.size;
  }

  /** Fills the buffer from the file; beyond its end with zeros. */
  async read(into: Uint8Array, offset: number): Promise<void> {
    const file = await this.#open();
    for (let done = 0; done < into.length;) {
      const { bytesRead } = await file.read(into, done, into.length - done, offset + done);
      if (bytesRead === 0) {
        into.fill(0, done);
        return;
      }
      done += bytesRead;
    }
  }

  /** Writes to the file alone; the map is the caller's business, afterwards. */
  async write(data: Uint8Array, offset: number): Promise<void> {
    const file = await this.#open();
    for (let done = 0; done < data.length;) {
      const { bytesWritten } = await file.write(data, done, data.length - done, offset + done);
      done += bytesWritten;
    }
  }

  async grow(sizeBytes: number): Promise<void> {
    if (sizeBytes <= this.size) return;
    await (await this.#open()).truncate(sizeBytes);
    await this.map.extend(grainsOf(sizeBytes));
    this.size = sizeBytes;
  }

  async close(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    await file?.close();
    await this.map.close();
  }

  /** Removes the files. Whoever has them open goes on reading what they held. */
  async discard(): Promise<void> {
    await this.close();
    await this.map.discard();
    await rm(this.dataPath, { force: true });
  }

  async #open(): Promise<FileHandle> {
    this.#file ??= await open(this.dataPath, 'r+');
    return this.#file;
  }
}
