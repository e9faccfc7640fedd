import { lstat } from 'node:fs/promises';
import { join } from 'node:path';
import type { RestorePointRecord } from '@sendense/catalog';
import { systemErrorCode, toSendenseError } from '@sendense/core';
import { verifyBlockHashesFile } from '@sendense/nbd';
import { DirectChain, type ImageInfo, type QemuImg } from '@sendense/qemu';
import { readManifestText } from '../runs/manifest-file.js';
import { parseManifest } from '../runs/manifest.js';

/** What one point holds of a disk. Paths are relative to the repository. */
export interface ChainImage {
  readonly pointId: string;
  readonly imagePath: string;
  readonly hashesPath: string | undefined;
  readonly capacityBytes: number;
}

/** The images that one disk of a point is read from, the point's own first, its full last. */
export interface DiskChain {
  readonly diskKey: number;
  readonly diskNumber: number;
  /** Never empty. */
  readonly images: readonly ChainImage[];
  /** The point whose image should follow the last one, when nobody knows of it. */
  readonly missingParent: string | undefined;
}

export type FindingKind =
  | 'manifest'
  | 'image_missing'
  | 'image_invalid'
  | 'image_damaged'
  | 'wrong_size'
  | 'wrong_parent'
  | 'hashes_missing'
  | 'hashes_invalid'
  | 'content'
  | 'unreadable';

/** One thing that is wrong, and in which file. */
export interface Finding {
  readonly kind: FindingKind;
  /** Whose file it is: the point that was looked at, or one that it builds on. */
  readonly pointId: string;
  /** undefined when it is not about one disk. */
  readonly disk: { readonly key: number; readonly number: number } | undefined;
  /** Of the file, relative to the repository. */
  readonly path: string;
  /** Where on the disk, in bytes; only when the content was read. */
  readonly offset?: number;
  /** In words, without the names above. */
  readonly detail: string;
}

/** The chains of all disks of a point. @param ancestors every point that it builds on; others may be among them */
export function diskChains(point: RestorePointRecord, ancestors: readonly RestorePointRecord[]): DiskChain[] {
  const points = new Map([...ancestors, point].map((one) => [one.id, one]));
  return point.disks.map(({ diskKey, diskNumber }) => {
    const images: ChainImage[] = [];
    const seen = new Set<string>();
    let next: string | undefined = point.id;
    while (next !== undefined && !seen.has(next)) {
      const owner = points.get(next);
      const disk = owner?.disks.find((one) => one.diskNumber === diskNumber);
      if (!owner || !disk) return { diskKey, diskNumber, images, missingParent: next };
      const { imagePath, hashesPath, capacityBytes } = disk;
      images.push({ pointId: owner.id, imagePath, hashesPath, capacityBytes });
      seen.add(next);
      next = disk.parentPointId;
    }
    // A parent that was seen before would be a ring: whatever the catalogue says, nothing can be read from it.
    return { diskKey, diskNumber, images, missingParent: next };
  });
}

export interface StructureOptions {
  /** Absolute. */
  readonly repositoryPath: string;
  readonly images: QemuImg;
  readonly signal?: AbortSignal;
  /**
   * Leaves `qemu-img check` out: for whoever compares all that is read with the hashes, which what it finds could not
   * pass unnoticed. In a long chain it would take as long as the reading. @default false
   */
  readonly withoutCheck?: boolean;
}

/** Whether the point's manifest is there and says the same as the catalogue. */
export async function checkManifest(
  point: RestorePointRecord,
  { repositoryPath }: Pick<StructureOptions, 'repositoryPath'>,
): Promise<Finding[]> {
  const wrong = (detail: string): Finding[] => [
    { kind: 'manifest', pointId: point.id, disk: undefined, path: point.manifestPath, detail },
  ];
  try {
    const text = await readManifestText(join(repositoryPath, point.manifestPath));
    // The finding names the file.
    const manifest = parseManifest(text, 'it');
    if (manifest.backup_id !== point.id || manifest.context_id !== point.contextId)
      return wrong(`it is that of ${manifest.backup_id} of ${manifest.context_id}`);
    const told = (disks: readonly { number: number; image: string; parent: string | undefined }[]) =>
      JSON.stringify(disks.toSorted((a, b) => a.number - b.number));
    const inManifest = told(
      manifest.disks.map((disk) => ({
        number: disk.disk_number,
        image: disk.image,
        parent: disk.parent?.backup_id,
      })),
    );
    const inCatalogue = told(
      point.disks.map((disk) => ({
        number: disk.diskNumber,
        image: disk.imagePath,
        parent: disk.parentPointId,
      })),
    );
    return inManifest === inCatalogue ? [] : wrong('its disks are not those of the catalogue');
  } catch (error) {
    if (systemErrorCode(error) !== undefined) return wrong(whyUnreadable(error));
    return wrong(toSendenseError(error).message);
  }
}

/**
 * Looks at every file of one disk's chain, without reading the disk's content: images are there, are QCOW2, have the
 * disk's size, build on the image that they should, are sound in themselves; block hashes are whole.
 *
 * @returns what is wrong, the oldest file first
 * @throws the signal's reason; `qemu_img_failed` when there is no qemu-img
 */
export async function checkDiskStructure(chain: DiskChain, options: StructureOptions): Promise<Finding[]> {
  const findings: Finding[] = [];
  const [own] = chain.images;
  if (chain.missingParent !== undefined && own)
    findings.push({
      ...about(chain, chain.images.at(-1) ?? own),
      kind: 'wrong_parent',
      detail: `it builds on ${chain.missingParent}, which has no such disk`,
    });
  const infos = await infosAtOnce(chain, options);
  const oldestFirst = [...chain.images.entries()].toReversed();
  const found: Finding[][] = oldestFirst.map(() => []);
  const waiting = oldestFirst.entries();
  const work = async () => {
    for (const [index, [age, image]] of waiting)
      found[index] = [
        ...(await checkImage(chain, image, chain.images[age + 1], { ...options, infos })),
        ...(await checkHashes(chain, image, options.repositoryPath)),
      ];
  };
  await Promise.all(Array.from({ length: IMAGES_AT_ONCE }, work));
  return [...findings, ...found.flat()];
}

/** Each is a short process or two: in a long chain they are what takes the time. */
const IMAGES_AT_ONCE = 4;

/**
 * The headers of all images by one process instead of one for each: when each names the next one, so that qemu-img is not
 * led anywhere else. Empty otherwise, and when one of them cannot be read: each is asked for alone then, to find out which.
 */
async function infosAtOnce(
  { images: chain }: DiskChain,
  { repositoryPath, images, signal }: StructureOptions,
): Promise<ReadonlyMap<string, ImageInfo>> {
  const paths = chain.map(({ imagePath }) => join(repositoryPath, imagePath));
  const [newest] = paths;
  try {
    const direct = await DirectChain.open({ paths, readByQemu: () => Promise.resolve() });
    if (newest === undefined || typeof direct === 'string') return new Map();
    await direct[Symbol.asyncDispose]();
    const infos = await images.backingChain(newest, signal ? { signal } : {});
    return new Map(infos.map((info) => [info.path, info]));
  } catch {
    signal?.throwIfAborted();
    return new Map();
  }
}

async function checkImage(
  chain: DiskChain,
  image: ChainImage,
  parent: ChainImage | undefined,
  {
    repositoryPath,
    images,
    signal,
    withoutCheck,
    infos,
  }: StructureOptions & { readonly infos: ReadonlyMap<string, ImageInfo> },
): Promise<Finding[]> {
  const path = join(repositoryPath, image.imagePath);
  const wrong = (kind: FindingKind, detail: string): Finding[] => [{ ...about(chain, image), kind, detail }];
  const absent = await whyNoFile(path);
  if (absent !== undefined) return wrong('image_missing', absent);
  const limit = signal ? { signal } : {};
  try {
    const info = infos.get(path) ?? (await images.info(path, limit));
    const [capacity, size] = [image.capacityBytes, info.virtualSizeBytes];
    if (size !== capacity)
      return wrong('wrong_size', `it is the image of a disk of ${size} bytes, not ${capacity}`);
    const base = parent && join(repositoryPath, parent.imagePath);
    if (info.backingPath !== base || (base !== undefined && info.backingFormat !== 'qcow2'))
      return wrong(
        'wrong_parent',
        `it builds on ${info.backingFile ?? 'nothing'}, not on ${base ?? 'nothing'}`,
      );
    if (info.corrupt) return wrong('image_damaged', 'it is marked as corrupt');
    if (!withoutCheck) await images.check(path, limit);
    return [];
  } catch (error) {
    signal?.throwIfAborted();
    const { code, message } = toSendenseError(error);
    if (code === 'image_check_failed') return wrong('image_damaged', message);
    return wrong('image_invalid', message);
  }
}

async function checkHashes(chain: DiskChain, image: ChainImage, repositoryPath: string): Promise<Finding[]> {
  const { hashesPath, capacityBytes } = image;
  const wrong = (kind: FindingKind, path: string, detail: string): Finding[] => [
    { ...about(chain, image), kind, path, detail },
  ];
  if (hashesPath === undefined)
    return wrong('hashes_missing', image.imagePath, 'it was sealed without block hashes');
  const absent = await whyNoFile(join(repositoryPath, hashesPath));
  if (absent !== undefined) return wrong('hashes_missing', hashesPath, absent);
  try {
    const { sizeBytes } = await verifyBlockHashesFile(join(repositoryPath, hashesPath));
    if (sizeBytes === capacityBytes) return [];
    return wrong(
      'hashes_invalid',
      hashesPath,
      `they are of a disk of ${sizeBytes} bytes, not ${capacityBytes}`,
    );
  } catch (error) {
    return wrong('hashes_invalid', hashesPath, toSendenseError(error).message);
  }
}

export function about(chain: DiskChain, image: ChainImage): Pick<Finding, 'pointId' | 'disk' | 'path'> {
  return {
    pointId: image.pointId,
    disk: { key: chain.diskKey, number: chain.diskNumber },
    path: image.imagePath,
  };
}

/** A symbolic link is no file of ours: it could lead anywhere. */
async function whyNoFile(path: string): Promise<string | undefined> {
  try {
    return (await lstat(path)).isFile() ? undefined : 'it is not a regular file';
  } catch (error) {
    return whyUnreadable(error);
  }
}

/** In words that need no path: findings name it already. */
function whyUnreadable(error: unknown): string {
  const code = systemErrorCode(error);
  if (code === 'ENOENT' || code === 'ENOTDIR') return 'it is not there';
  return `it cannot be read (${code ?? toSendenseError(error).message})`;
}
