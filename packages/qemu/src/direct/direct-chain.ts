import { SendenseError } from '@sendense/core';
import { Qcow2Layer } from './layer.js';
import { layOver, type ChainExtent } from './overlay.js';

/** What one L2 table covers in an image with the usual clusters of 64 KiB. */
const WINDOW_BYTES = 512 << 20;

export interface DirectChainOptions {
  /** Absolute, the newest first; each must be the backing file of the one before. */
  readonly paths: readonly string[];
  /**
   * Reads through qemu: for what only qemu can read (compressed clusters, whatever is not as it should be). Fills the
   * buffer.
   */
  readonly readByQemu: (offset: number, into: Buffer) => Promise<unknown>;
}

/**
 * A disk, read straight from the images of its chain. For each block qemu looks through the images from the newest to the
 * one that holds it, twice, and reads it alone; in a chain of 60 images that takes four times as long as the reading.
 * Here each table is read once, and laid over those beneath it.
 *
 * Nothing is locked: whoever opens it keeps the images as they are.
 */
export class DirectChain implements AsyncDisposable {
  /** By number; a few of them, around where it is read. */
  readonly #windows = new Map<number, Promise<readonly ChainExtent[]>>();

  private constructor(
    private readonly layers: readonly Qcow2Layer[],
    readonly sizeBytes: number,
    private readonly readByQemu: DirectChainOptions['readByQemu'],
  ) {}

  /**
   * @returns why the chain can only be read by qemu, as a string: features that change how an image is read, internal
   * snapshots, encryption, an external data file, marks of a crash or corruption, a parent that is not the next image
   * @throws `io_error` when an image cannot be opened
   */
  static async open({ paths, readByQemu }: DirectChainOptions): Promise<DirectChain | string> {
    await using stack = new AsyncDisposableStack();
    const layers: Qcow2Layer[] = [];
    for (const [index, path] of paths.entries()) {
      const layer = await opened(path);
      if (typeof layer === 'string') return `${path}: ${layer}`;
      layers.push(stack.use(layer));
      if (layer.backingPath !== paths[index + 1])
        return `${path}: it builds on ${layer.backingPath ?? 'nothing'}, not on ${paths[index + 1] ?? 'nothing'}`;
    }
    const [newest] = layers;
    if (!newest) throw new SendenseError('invalid_argument', 'a chain has one image at least');
    stack.move();
    return new DirectChain(layers, newest.sizeBytes, readByQemu);
  }

  /** What begins at this offset, and some of what follows: ascending, without gaps. */
  async extentsFrom(offset: number): Promise<readonly ChainExtent[]> {
    const extents = await this.#window(Math.floor(offset / WINDOW_BYTES));
    const first = indexAt(extents, offset);
    return extents
      .slice(first)
      .map((extent, index) => (index === 0 ? cut(extent, offset, Infinity) : extent));
  }

  /** Fills the buffer with what a guest would read at this offset. @throws as `readByQemu`; `io_error` */
  async read(offset: number, into: Buffer): Promise<void> {
    const end = offset + into.length;
    if (end > this.sizeBytes)
      throw new SendenseError('invalid_argument', `the disk ends at ${this.sizeBytes}, not at ${end}`);
    const reads: Promise<void>[] = [];
    for (let at = offset; at < end;) {
      const extents = await this.#window(Math.floor(at / WINDOW_BYTES));
      for (let index = indexAt(extents, at); at < end; index++) {
        const extent = extents[index];
        if (!extent) break;
        const part = cut(extent, at, end);
        at = part.offset + part.length;
        reads.push(this.#readPart(part, into.subarray(part.offset - offset, at - offset)));
      }
    }
    // All of them are over before the buffer belongs to the caller again.
    const failed = (await Promise.allSettled(reads)).find(({ status }) => status === 'rejected');
    if (failed?.status === 'rejected') throw failed.reason;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.allSettled(this.#windows.values());
    this.#windows.clear();
    for (const layer of this.layers) await layer[Symbol.asyncDispose]();
  }

  async #readPart(part: ChainExtent, into: Buffer): Promise<void> {
    if (part.kind === 'zero') {
      into.fill(0);
      return;
    }
    const layer = part.kind === 'data' ? this.layers[part.layer] : undefined;
    // Where an image is shorter than its tables say qemu decides what that means.
    if (part.kind === 'data' && layer && (await layer.read(part.fileOffset, into)) === into.length) return;
    await this.readByQemu(part.offset, into);
  }

  /** The one that follows is prepared meanwhile; what lies far behind is forgotten. */
  #window(number: number): Promise<readonly ChainExtent[]> {
    for (const known of this.#windows.keys()) if (Math.abs(known - number) > 2) this.#windows.delete(known);
    if ((number + 1) * WINDOW_BYTES < this.sizeBytes) this.#load(number + 1).catch(() => undefined);
    return this.#load(number);
  }

  #load(number: number): Promise<readonly ChainExtent[]> {
    const known = this.#windows.get(number);
    if (known) return known;
    const from = number * WINDOW_BYTES;
    const to = Math.min(from + WINDOW_BYTES, this.sizeBytes);
    const loading = Promise.all(
      this.layers.map(async (layer) => ({
        sizeBytes: layer.sizeBytes,
        extents: await layer.extents(from, to),
      })),
    ).then((layers) => layOver(layers, from, to));
    this.#windows.set(number, loading);
    return loading;
  }
}

async function opened(path: string): Promise<Qcow2Layer | string> {
  try {
    return await Qcow2Layer.open(path);
  } catch (error) {
    throw new SendenseError('io_error', `the image ${path} cannot be read: ${String(error)}`, {
      cause: error,
      context: { path },
    });
  }
}

/** The index of the extent that the offset is in. */
function indexAt(extents: readonly ChainExtent[], offset: number): number {
  let [low, high] = [0, extents.length - 1];
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if ((extents[middle]?.offset ?? Infinity) <= offset) low = middle;
    else high = middle - 1;
  }
  return low;
}

function cut(extent: ChainExtent, from: number, to: number): ChainExtent {
  const offset = Math.max(extent.offset, from);
  const length = Math.min(extent.offset + extent.length, to) - offset;
  if (extent.kind !== 'data') return { ...extent, offset, length };
  return { ...extent, offset, length, fileOffset: extent.fileOffset + offset - extent.offset };
}
