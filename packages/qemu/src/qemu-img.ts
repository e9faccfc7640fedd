import { rm } from 'node:fs/promises';
import { dirname, isAbsolute, relative } from 'node:path';
import { SendenseError, type ErrorCode } from '@sendense/core';
import { runCommand, silentLogger, type Logger } from '@sendense/runtime';
import { createEmpty, createFailure } from './create-image.js';
import { parseJson, toImageInfo, type ImageInfo, type InfoJson, type MapExtent } from './image-info.js';
import { rewriteImage, type RewriteOptions } from './rewrite-image.js';

export interface QemuImgOptions {
  /** Name or path of the binary. @default 'qemu-img' */
  readonly command?: string;
  /** Of the processes that rewrite images: see ChildProcess. @default 'sendense-qemu-img' */
  readonly owner?: string;
  /** @default none */
  readonly log?: Logger;
}

export interface RebaseOptions extends RewriteOptions {
  /** The new backing file. The path is absolute; it is stored relative. Undefined: none, what is not held reads as zeros. */
  readonly backing: { readonly path: string; readonly format: 'qcow2' } | undefined;
  /** Only writes the name down: right when the caller knows that the new backing file is the right one. */
  readonly unsafe: boolean;
}

export interface CreateImageOptions {
  readonly sizeBytes: number;
  /** Makes the image an overlay. The path is absolute; it is stored relative, so that a repository can be moved. */
  readonly backing?: { readonly path: string; readonly format: 'qcow2' };
  /** @default 65536 */
  readonly clusterBytes?: number;
  readonly signal?: AbortSignal;
}

export type ImageFormat = 'qcow2' | 'raw';

/** What a raw disk can be turned into, and how it is laid out there. */
const CONVERTED = {
  qcow2: [],
  // To be uploaded to a datastore.
  vmdk: ['-o', 'subformat=streamOptimized'],
  vhdx: ['-o', 'subformat=dynamic'],
} as const;

export type ConvertedFormat = keyof typeof CONVERTED;

const SECTOR_BYTES = 512;

interface CallOptions {
  readonly signal?: AbortSignal;
}

/**
 * `qemu-img`, one method for each of its commands that Sendense uses. Every path must be absolute: qemu takes what stands
 * before a colon for a protocol, unless a slash comes first. Formats are always named: a guest could write the header of
 * another format into its raw disk.
 */
export class QemuImg {
  readonly #command: string;
  readonly #owner: string;
  readonly #log: Logger;

  constructor(options: QemuImgOptions = {}) {
    this.#command = options.command ?? 'qemu-img';
    this.#owner = options.owner ?? 'sendense-qemu-img';
    this.#log = options.log ?? silentLogger;
  }

  /**
   * Creates a QCOW2 image; refuses a file that exists, and leaves none behind when it fails.
   * @throws `target_create_failed`, `out_of_space`, `invalid_argument`; `qemu_img_failed` when qemu-img is missing
   */
  async create(path: string, o: CreateImageOptions): Promise<void> {
    requireAbsolute(path);
    // qemu-img would round up, and the disk would not have its size.
    if (o.sizeBytes % SECTOR_BYTES !== 0 || !Number.isSafeInteger(o.sizeBytes) || o.sizeBytes < 0)
      throw new SendenseError(
        'invalid_argument',
        `the size of ${path} must be a multiple of 512 bytes: ${o.sizeBytes}`,
      );
    // Made here first: qemu-img overwrites without asking, and its errors do not tell one cause from another.
    await createEmpty(path);
    const backing = o.backing ? ['-b', storedBacking(path, o.backing.path), '-F', o.backing.format] : [];
    const layout = ['-o', `cluster_size=${o.clusterBytes ?? 65_536}`];
    try {
      await this.#run(
        ['create', '-q', '-f', 'qcow2', ...layout, ...backing, '--', path, String(o.sizeBytes)],
        `creating the image ${path}`,
        'target_create_failed',
        o,
      );
    } catch (error) {
      await rm(path, { force: true }).catch(() => {
        // The first error counts.
      });
      throw createFailure(path, error);
    }
  }

  /** @throws `qemu_img_failed` */
  async info(path: string, o: CallOptions = {}): Promise<ImageInfo> {
    requireAbsolute(path);
    const what = `reading the header of ${path}`;
    const { stdout } = await this.#run(
      ['info', '--force-share', '--output=json', '-f', 'qcow2', '--', path],
      what,
      'qemu_img_failed',
      o,
    );
    return toImageInfo(parseJson(stdout, what) as InfoJson);
  }

  /** The image and its backing files, the image first. @throws `qemu_img_failed` when one of them is missing or not QCOW2 */
  async backingChain(path: string, o: CallOptions = {}): Promise<ImageInfo[]> {
    requireAbsolute(path);
    const what = `reading the chain of ${path}`;
    const { stdout } = await this.#run(
      ['info', '--force-share', '--backing-chain', '--output=json', '-f', 'qcow2', '--', path],
      what,
      'qemu_img_failed',
      o,
    );
    return (parseJson(stdout, what) as InfoJson[]).map(toImageInfo);
  }

  /**
   * Checks the image's own structure. Its backing files are not opened, so that it costs the same wherever it stands in a
   * chain, and what is wrong beneath it is not its fault. @throws `image_check_failed` with what was found
   */
  async check(path: string, o: CallOptions = {}): Promise<void> {
    requireAbsolute(path);
    // Exit codes of `qemu-img check`: 0 sound, 2 corrupt, 3 clusters leaked (harmless, but nothing of ours leaks any).
    const { stdout, stderr, exitCode } = await this.#run(
      ['check', '--', alone(path)],
      `checking the image ${path}`,
      'qemu_img_failed',
      { ...o, accept: [0, 2, 3] },
    );
    if (exitCode === 0) return;
    const found = [...stderr.split('\n'), ...stdout.split('\n')].filter((line) => line.trim() !== '');
    throw new SendenseError(
      'image_check_failed',
      `the image ${path} is ${exitCode === 2 ? 'corrupt' : 'not clean'}: ${found.slice(0, 5).join('; ')}; look for faults of the storage beneath it, then take a full backup`,
      { context: { path } },
    );
  }

  /**
   * Gives back clusters that nothing refers to: what a rewriting that was killed leaves. Anything worse stays as it is, for
   * {@link check} to find. @throws `qemu_img_failed`
   */
  async repairLeaks(path: string, o: CallOptions = {}): Promise<void> {
    requireAbsolute(path);
    await this.#run(
      ['check', '-q', '-r', 'leaks', '-f', 'qcow2', '--', path],
      `giving back leaked clusters of ${path}`,
      'qemu_img_failed',
      { ...o, accept: [0, 2, 3] },
    );
  }

  /** What the image and its backing files hold, ascending, without gaps. @throws `qemu_img_failed` */
  async map(path: string, o: CallOptions = {}): Promise<MapExtent[]> {
    requireAbsolute(path);
    const what = `reading the map of ${path}`;
    const { stdout } = await this.#run(
      ['map', '--force-share', '--output=json', '-f', 'qcow2', '--', path],
      what,
      'qemu_img_failed',
      o,
    );
    const entries = parseJson(stdout, what) as (Omit<MapExtent, 'offset'> & { start: number })[];
    return entries.map(({ start, length, depth, zero, data }) => ({
      offset: start,
      length,
      depth,
      zero,
      data,
    }));
  }

  /** Compares what guests would read. @throws `qemu_img_failed` when one cannot be read */
  async compare(
    a: string,
    b: string,
    o: CallOptions & { readonly formatA: ImageFormat; readonly formatB: ImageFormat },
  ): Promise<{ identical: boolean; detail: string }> {
    requireAbsolute(a);
    requireAbsolute(b);
    const { stdout, exitCode } = await this.#run(
      ['compare', '--force-share', '-f', o.formatA, '-F', o.formatB, '--', a, b],
      `comparing ${a} with ${b}`,
      'qemu_img_failed',
      { ...o, accept: [0, 1] },
    );
    return { identical: exitCode === 0, detail: stdout.trim() };
  }

  /**
   * Writes what an overlay holds into its backing file. The overlay stays as it is, so that a commit that was interrupted,
   * however, is repaired by running it again; until then only the overlay shows the right content.
   * @throws `out_of_space`, `qemu_img_failed`, the signal's reason
   */
  async commit(path: string, o: RewriteOptions = {}): Promise<void> {
    requireAbsolute(path);
    await this.#rewrite(['commit', '-p', '-d', '-f', 'qcow2', '--', path], `committing ${path}`, path, o);
  }

  /**
   * Gives an overlay another backing file, or none. Unless `unsafe`, it first takes over whatever the new one lacks, so
   * that its content stays what it was, and may be interrupted and run again: until the end it names the old one.
   * @throws `out_of_space`, `qemu_img_failed`, the signal's reason
   */
  async rebase(path: string, o: RebaseOptions): Promise<void> {
    requireAbsolute(path);
    const { backing, unsafe } = o;
    const onto = backing ? ['-b', storedBacking(path, backing.path), '-F', backing.format] : ['-b', ''];
    const what = `putting ${path} onto ${backing?.path ?? 'no backing file'}`;
    const mode = unsafe ? ['-u'] : [];
    await this.#rewrite(['rebase', '-p', ...mode, '-f', 'qcow2', ...onto, '--', path], what, path, o);
  }

  /**
   * Makes an image of a raw disk; holes stay holes. It is not durable until it is synced.
   * @throws `out_of_space`, `qemu_img_failed`, the signal's reason: what is there of it then is the caller's to remove
   */
  async convertRaw(
    raw: string,
    into: string,
    { format, ...o }: RewriteOptions & { readonly format: ConvertedFormat },
  ): Promise<void> {
    requireAbsolute(raw);
    requireAbsolute(into);
    const args = ['convert', '-p', '-f', 'raw', '-O', format, ...CONVERTED[format], '--', raw, into];
    await this.#rewrite(args, `converting ${raw} to ${format}`, into, o);
  }

  async #rewrite(args: readonly string[], what: string, path: string, o: RewriteOptions): Promise<void> {
    const tool = { command: this.#command, owner: this.#owner, log: this.#log };
    await rewriteImage(tool, args, what, path, o);
  }

  async #run(
    args: readonly string[],
    what: string,
    code: ErrorCode,
    { signal, accept }: CallOptions & { readonly accept?: readonly number[] },
  ) {
    return runCommand(this.#command, args, {
      code,
      what,
      missingCode: 'qemu_img_failed',
      missingHint: 'install the package qemu-utils, or set SENDENSE_QEMU_IMG to its path',
      ...(signal ? { signal } : {}),
      ...(accept ? { accept } : {}),
    });
  }
}

function requireAbsolute(path: string): void {
  if (!isAbsolute(path))
    throw new SendenseError('invalid_argument', `the path of an image must be absolute: ${path}`);
}

/** Relative to the overlay's folder, and never readable as `protocol:`. */
function storedBacking(path: string, backingPath: string): string {
  requireAbsolute(backingPath);
  const stored = relative(dirname(path), backingPath);
  return stored.includes(':') && !stored.startsWith('../') ? `./${stored}` : stored;
}

/** The image without its backing files, as qemu-img takes it for a path. */
function alone(path: string): string {
  return `json:${JSON.stringify({ driver: 'qcow2', backing: null, file: { driver: 'file', filename: path } })}`;
}
