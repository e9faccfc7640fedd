import { constants } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { HEADER_BYTES, parseHeader, type Qcow2Header } from './header.js';
import { clusterPlace, ExtentCollector, type LayerExtent } from './l2-table.js';

/** Bits 9 to 55 of an L1 entry are the table's offset, bit 63 says that nobody shares it; the others must be 0. */
const L1_RESERVED_HIGH = 0x7f00_0000;

const OPEN = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

/** One plain QCOW2 image, by itself: what lies beneath it is not its business. */
export class Qcow2Layer implements AsyncDisposable {
  private constructor(
    readonly path: string,
    private readonly file: FileHandle,
    private readonly header: Qcow2Header,
    /** Absolute. */
    readonly backingPath: string | undefined,
    private readonly l1: Buffer,
  ) {}

  /**
   * @returns why only qemu can read it, as a string
   * @throws what the system says when it cannot be opened
   */
  static async open(path: string): Promise<Qcow2Layer | string> {
    // Not through a link: it could lead anywhere. A pipe must not be waited for.
    const file = await open(path, OPEN);
    let opened: Qcow2Layer | string = 'it ends within its metadata';
    try {
      const head = await readAt(file, 0, HEADER_BYTES);
      const header = head ? parseHeader(head) : opened;
      if (typeof header === 'string') return (opened = header);
      const { backing, l1 } = header;
      const name = backing && (await readAt(file, backing.offset, backing.length));
      const table = await readAt(file, l1.offset, l1.entries * 8);
      if ((backing && !name) || !table) return opened;
      const backingPath = name && resolve(dirname(path), name.toString('utf8'));
      return (opened = new Qcow2Layer(path, file, header, backingPath, table));
    } finally {
      if (typeof opened === 'string') await file.close();
    }
  }

  get sizeBytes(): number {
    return this.header.sizeBytes;
  }

  /** What it holds of `[from, to)`, ascending and cut there; nothing where it holds nothing. Not beyond its own end. */
  async extents(from: number, to: number): Promise<readonly LayerExtent[]> {
    const { clusterBytes, sizeBytes, version } = this.header;
    const end = Math.min(to, sizeBytes);
    const tableBytes = (clusterBytes / 8) * clusterBytes;
    const collected = new ExtentCollector();
    for (let table = Math.floor(from / tableBytes); table * tableBytes < end; table++) {
      const start = table * tableBytes;
      const first = Math.max(start, from);
      const last = Math.min(start + tableBytes, end);
      const entries = await this.#l2(table);
      if (entries === undefined) continue;
      if (entries === 'qemu') {
        collected.add(-3, first, last - first);
        continue;
      }
      for (let cluster = Math.floor((first - start) / clusterBytes); ; cluster++) {
        const at = start + cluster * clusterBytes;
        if (at >= last) break;
        const place = clusterPlace(
          entries.readUInt32BE(cluster * 8),
          entries.readUInt32BE(cluster * 8 + 4),
          version,
          clusterBytes,
        );
        const begin = Math.max(at, first);
        collected.add(
          place >= 0 ? place + begin - at : place,
          begin,
          Math.min(at + clusterBytes, last) - begin,
        );
      }
    }
    return collected.extents;
  }

  /** @returns how much was read: less than the buffer holds only where the file ends */
  async read(fileOffset: number, into: Buffer): Promise<number> {
    let done = 0;
    while (done < into.length) {
      const { bytesRead } = await this.file.read(into, done, into.length - done, fileOffset + done);
      if (bytesRead === 0) break;
      done += bytesRead;
    }
    return done;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.file.close();
  }

  /** undefined when there is no such table: the image holds nothing there. */
  async #l2(table: number): Promise<Buffer | 'qemu' | undefined> {
    const { clusterBytes } = this.header;
    const high = this.l1.readUInt32BE(table * 8);
    const low = this.l1.readUInt32BE(table * 8 + 4);
    if (high === 0 && low === 0) return undefined;
    const offset = (high & 0x00ff_ffff) * 2 ** 32 + low;
    const plain =
      (high & L1_RESERVED_HIGH) === 0 &&
      offset !== 0 &&
      offset % clusterBytes === 0 &&
      Number.isSafeInteger(offset);
    return plain ? ((await readAt(this.file, offset, clusterBytes)) ?? 'qemu') : 'qemu';
  }
}

/** undefined when the file ends before. */
async function readAt(file: FileHandle, offset: number, length: number): Promise<Buffer | undefined> {
  const buffer = Buffer.allocUnsafe(length);
  for (let done = 0; done < length;) {
    const { bytesRead } = await file.read(buffer, done, length - done, offset + done);
    if (bytesRead === 0) return undefined;
    done += bytesRead;
  }
  return buffer;
}
