import { join } from 'node:path';
import type { RestorePointRecord } from '@sendense/catalog';
import { slug } from '@sendense/core';
import { HASH_BLOCK_BYTES, mergedHashes } from '@sendense/nbd';
import { QemuImg } from '@sendense/qemu';
import type { Logger } from '@sendense/runtime';
import {
  checkDiskStructure,
  checkManifest,
  diskChains,
  type DiskChain,
  type Finding,
} from '../chains/structure.js';
import type { VerifyTools } from '../chains/verify-point.js';
import type { UsableRepository } from '../runs/index.js';
import type { ExportDirectory } from './export-directory.js';
import { exportDisk, workBytes, type ExportFormat } from './export-disk.js';

export interface ExportRequest {
  readonly repository: UsableRepository;
  readonly point: RestorePointRecord;
  /** Every point that it builds on. */
  readonly ancestors: readonly RestorePointRecord[];
  /** Their device keys; all of them are disks of the point. */
  readonly diskKeys: readonly number[];
  readonly format: ExportFormat;
  readonly directory: ExportDirectory;
  /** Of the folder that is made. */
  readonly name: string;
  readonly taskId: string;
  readonly tools: VerifyTools;
  readonly log: Logger;
  readonly signal: AbortSignal;
  readonly onProgress: (bytesDone: number, bytesTotal: number) => void;
}

export interface ExportedDisk {
  readonly diskKey: number;
  readonly file: string;
  readonly capacityBytes: number;
  readonly storedBytes: number;
}

export type ExportOutcome =
  | { readonly path: string; readonly disks: readonly ExportedDisk[] }
  /** Nothing was exported. */
  | { readonly findings: readonly Finding[] };

/** Beyond what the disks need: metadata of images and of the file system. */
const SPARE_BYTES = 64 << 20;

/**
 * Writes disks of a restore point to files in a new folder, which is there whole or not at all. The structure of all that
 * is read is checked first, and each block's hash while it is copied.
 *
 * @throws `out_of_space`, `already_exists`, as ExportDirectory; the signal's reason; what says nothing about the point
 */
export async function exportPoint(request: ExportRequest): Promise<ExportOutcome> {
  const { repository, point, ancestors, diskKeys, format, directory, name, taskId, tools, signal } = request;
  await directory.requireFree(name, [repository.path]);
  const images = new QemuImg({ command: tools.qemuImg, owner: tools.owner, log: request.log });
  const structure = { repositoryPath: repository.path, images, signal, withoutCheck: true };
  const chains = diskChains(point, ancestors).filter(({ diskKey }) => diskKeys.includes(diskKey));
  const findings = await checkManifest(point, structure);
  for (const chain of chains) findings.push(...(await checkDiskStructure(chain, structure)));
  if (findings.length > 0) return damaged(repository, findings);
  await using unfinished = await directory.begin(name, taskId, {
    enough: neededBytes(chains.map(capacityOf), format),
    exactly: async () =>
      neededBytes(await Promise.all(chains.map((chain) => dataBytes(chain, repository))), format),
  });
  const total = chains.reduce((sum, chain) => sum + workBytes(format, capacityOf(chain)), 0);
  const disks: ExportedDisk[] = [];
  let before = 0;
  for (const chain of chains) {
    const [capacityBytes, done] = [capacityOf(chain), before];
    const file = `${slug(point.vmName)}-disk${chain.diskNumber}.${format}`;
    const written = await exportDisk(chain, {
      ...{ repositoryPath: repository.path, images, format, capacityBytes, signal },
      ...{ qemuNbd: tools.qemuNbd, runtimeDirectory: tools.runtimeDirectory, owner: tools.owner },
      log: request.log.child({ diskKey: chain.diskKey }),
      into: join(unfinished.path, file),
      onProgress: (bytes) => request.onProgress(done + bytes, total),
    });
    if (written.findings.length > 0) return damaged(repository, written.findings);
    before += workBytes(format, capacityBytes);
    disks.push({ diskKey: chain.diskKey, file, capacityBytes, storedBytes: written.storedBytes });
  }
  signal.throwIfAborted();
  return { path: await unfinished.publish(), disks };
}

/** Everything looks damaged in the empty mount point of a repository that was unmounted meanwhile. */
async function damaged(repository: UsableRepository, findings: readonly Finding[]): Promise<ExportOutcome> {
  await repository.availableBytes();
  return { findings };
}

/** A disk that is converted is there twice for a while. */
function neededBytes(disks: readonly number[], format: ExportFormat): number {
  const sum = disks.reduce((all, bytes) => all + bytes, 0);
  return sum + (format === 'raw' ? 0 : Math.max(0, ...disks)) + SPARE_BYTES;
}

/** What a disk holds. */
async function dataBytes({ images }: DiskChain, { path }: UsableRepository): Promise<number> {
  const files = images.flatMap(({ hashesPath }) => (hashesPath ? [join(path, hashesPath)] : []));
  let bytes = 0;
  for await (const { kind, count } of mergedHashes(files))
    if (kind === 'data') bytes += count * HASH_BLOCK_BYTES;
  return bytes;
}

function capacityOf({ images: [own] }: DiskChain): number {
  return own?.capacityBytes ?? 0;
}
