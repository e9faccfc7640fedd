import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { SendenseError } from '@sendense/core';
import {
  HASH_BLOCK_BYTES,
  mergedHashes,
  NbdClient,
  probeExport,
  readBlockHashes,
  verifyExport,
  type BlockMismatch,
  type RateLimit,
  type VerifySource,
} from '@sendense/nbd';
import { startReadOnlyExport, type QemuImg } from '@sendense/qemu';
import type { Logger } from '@sendense/runtime';
import { openChainSource } from './chain-source.js';
import { about, type ChainImage, type DiskChain, type Finding } from './structure.js';

export interface ContentOptions {
  /** Absolute. */
  readonly repositoryPath: string;
  readonly images: QemuImg;
  readonly qemuNbd: string;
  /** Where the socket is made; short. */
  readonly runtimeDirectory: string;
  readonly owner: string;
  readonly log: Logger;
  readonly signal: AbortSignal;
  /** @default as fast as it goes */
  readonly rateLimit?: RateLimit;
  readonly onProgress?: (bytesDone: number, bytesTotal: number) => void;
  /** How many findings are kept; all are counted. */
  readonly maxFindings: number;
  /**
   * Told all that is read, before it is compared; the buffer is its own until it settles. What it is not told of reads as
   * zeros. Several calls are under way at once.
   */
  readonly onData?: (offset: number, data: Buffer) => Promise<void>;
  /** Ends the reading when anything is wrong. @default false */
  readonly stopAtFinding?: boolean;
}

export interface ContentResult {
  readonly blocksChecked: number;
  /** Blocks that are not what they were at the source. */
  readonly mismatches: number;
  readonly findings: readonly Finding[];
}

/**
 * Reads one disk as a restore does, through its whole chain, and compares each block with the hash of what was read at
 * the source. Its structure must have been found good. qemu-nbd and its socket are gone afterwards, however it ends.
 *
 * @throws the signal's reason · `qemu_nbd_missing` · `qemu_nbd_failed` · `qemu_nbd_died`
 */
export async function verifyDiskContent(chain: DiskChain, options: ContentOptions): Promise<ContentResult> {
  const { repositoryPath, log, signal, maxFindings } = options;
  const [own] = chain.images;
  if (!own) throw new SendenseError('internal', `disk ${chain.diskKey} has no image`);
  const stop = new AbortController();
  const either = AbortSignal.any([signal, stop.signal]);
  const mismatches: BlockMismatch[] = [];
  let read: { readonly blocksChecked: number; readonly mismatches: number };
  {
    const exportName = `disk-${chain.diskNumber}`;
    await using server = await startReadOnlyExport({
      command: options.qemuNbd,
      imagePath: join(repositoryPath, own.imagePath),
      exportName,
      socketPath: join(options.runtimeDirectory, `v-${randomBytes(4).toString('hex')}`),
      expectedSizeBytes: own.capacityBytes,
      owner: options.owner,
      log,
      probe: (address, name, limit) =>
        probeExport(address, name, { log, ...(limit ? { signal: limit } : {}) }),
      signal,
    });
    void server.died.then((error) => stop.abort(error));
    const { address } = server;
    await using client = await NbdClient.connect({ address, exportName, blockStatus: true, log, signal });
    await using source = await openChainSource(chain, { repositoryPath, client, log });
    read = await verifyExport({
      client: options.onData ? telling(source, options.onData) : source,
      hashes: mergedHashes(hashPaths(chain, repositoryPath)),
      sizeBytes: own.capacityBytes,
      signal: either,
      onMismatch: (mismatch) => {
        if (mismatches.length < maxFindings) mismatches.push(mismatch);
        if (options.stopAtFinding) stop.abort(FOUND);
      },
      ...(options.onProgress ? { onProgress: options.onProgress } : {}),
      ...(options.rateLimit ? { rateLimit: options.rateLimit } : {}),
    }).catch((error: unknown) => {
      if (error !== FOUND) throw error;
      return { blocksChecked: 0, mismatches: mismatches.length };
    });
  }
  return { ...read, findings: await blame(chain, inOrder(mismatches), options) };
}

const FOUND = new SendenseError('verification_failed', 'something is wrong');

function telling(
  source: VerifySource,
  onData: (offset: number, data: Buffer) => Promise<void>,
): VerifySource {
  return {
    ...{ exportName: source.exportName, export: source.export },
    blockStatus: (offset, length) => source.blockStatus(offset, length),
    read: async (offset, length, into) => {
      const data = await source.read(offset, length, into);
      await onData(offset, data);
      return data;
    },
    abandon: (reason) => source.abandon(reason),
  };
}

/** Which image each wrong block is in: the newest whose backup read it, else the one that holds data where none was. */
async function blame(
  chain: DiskChain,
  mismatches: readonly BlockMismatch[],
  { repositoryPath, images, signal }: ContentOptions,
): Promise<Finding[]> {
  if (mismatches.length === 0) return [];
  const blocks = new Set(mismatches.map(({ offset }) => Math.floor(offset / HASH_BLOCK_BYTES)));
  const readers = await readersOf(blocks, chain, repositoryPath);
  const strays = mismatches.filter(({ offset }) => !readers.has(Math.floor(offset / HASH_BLOCK_BYTES)));
  const [own] = chain.images;
  const map =
    strays.length > 0 && own ? await images.map(join(repositoryPath, own.imagePath), { signal }) : [];
  return mismatches.flatMap((mismatch): Finding[] => {
    const { offset, length } = mismatch;
    const holder = map.find(
      (extent) => offset < extent.offset + extent.length && extent.offset < offset + length,
    );
    const image =
      readers.get(Math.floor(offset / HASH_BLOCK_BYTES)) ??
      chain.images[holder?.depth ?? 0] ??
      chain.images.at(-1);
    if (!image) return [];
    return [{ ...about(chain, image), offset, ...whatIsWrong(mismatch) }];
  });
}

/** Several reads are under way at once, and end as they like. */
function inOrder(mismatches: readonly BlockMismatch[]): BlockMismatch[] {
  return mismatches.toSorted((a, b) => a.offset - b.offset);
}

function whatIsWrong({ expected, unreadable }: BlockMismatch): Pick<Finding, 'kind' | 'detail'> {
  if (unreadable !== undefined) return { kind: 'unreadable', detail: `it cannot be read: ${unreadable}` };
  if (expected === 'zeros') return { kind: 'content', detail: 'it holds data where the disk had zeros' };
  return { kind: 'content', detail: 'its content is not what was read there' };
}

async function readersOf(
  blocks: ReadonlySet<number>,
  { images }: DiskChain,
  repositoryPath: string,
): Promise<Map<number, ChainImage>> {
  const readers = new Map<number, ChainImage>();
  for (const image of images) {
    if (image.hashesPath === undefined) continue;
    await using hashes = await readBlockHashes(join(repositoryPath, image.hashesPath));
    for await (const { firstBlock, count } of hashes.runs())
      for (const block of blocks)
        if (block >= firstBlock && block < firstBlock + count && !readers.has(block))
          readers.set(block, image);
  }
  return readers;
}

function hashPaths({ images }: DiskChain, repositoryPath: string): string[] {
  return images.flatMap(({ hashesPath }) =>
    hashesPath === undefined ? [] : [join(repositoryPath, hashesPath)],
  );
}
