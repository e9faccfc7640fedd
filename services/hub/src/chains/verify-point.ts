import type { RestorePointRecord } from '@sendense/catalog';
import { SendenseError } from '@sendense/core';
import { RateLimit } from '@sendense/nbd';
import { QemuImg } from '@sendense/qemu';
import { findExecutable, type Logger } from '@sendense/runtime';
import type { UsableRepository } from '../runs/index.js';
import { checkDiskStructure, checkManifest, diskChains, type DiskChain, type Finding } from './structure.js';
import { verifyDiskContent } from './verify-content.js';

/** So many findings are told; beyond that they are only counted. */
const MAX_FINDINGS = 20;

export interface VerifyTools {
  readonly qemuImg: string;
  readonly qemuNbd: string;
  /** Where sockets are made. */
  readonly runtimeDirectory: string;
  /** See ownerMark. */
  readonly owner: string;
}

export interface VerifyRequest {
  readonly repository: UsableRepository;
  readonly point: RestorePointRecord;
  /** Every point that it builds on. */
  readonly ancestors: readonly RestorePointRecord[];
  /** Structure alone: nothing of the disks' content is read. */
  readonly quick: boolean;
  /** Bytes per second; 0 is unlimited. */
  readonly rateLimitBytesPerSecond: number;
  readonly tools: VerifyTools;
  readonly log: Logger;
  readonly signal: AbortSignal;
  readonly onProgress?: (bytesDone: number, bytesTotal: number) => void;
}

export interface Verification {
  readonly full: boolean;
  /** Blocks of 64 KiB whose content was checked; 0 when only the structure was looked at. */
  readonly blocksChecked: number;
  /** How much is wrong in all. */
  readonly findingCount: number;
  /** The first {@link MAX_FINDINGS} of it; empty when the point is good. */
  readonly findings: readonly Finding[];
}

/**
 * Whether a restore point can be restored: first the structure of every file of its chain, then, unless `quick`, each
 * block as a restore would read it against the hash of what was read at the source.
 *
 * @throws only what says nothing about the point: the signal's reason, a tool that is missing, a repository that is gone
 */
export async function verifyPoint(request: VerifyRequest): Promise<Verification> {
  const { repository, point, ancestors, quick, tools, signal } = request;
  await requireTool(tools.qemuImg, 'qemu_img_failed', 'SENDENSE_QEMU_IMG');
  const structure = {
    repositoryPath: repository.path,
    images: new QemuImg({ command: tools.qemuImg }),
    signal,
  };
  const chains = diskChains(point, ancestors);
  const findings = await checkManifest(point, structure);
  const sound: DiskChain[] = [];
  for (const chain of chains) {
    signal.throwIfAborted();
    const found = await checkDiskStructure(chain, structure);
    if (found.length === 0) sound.push(chain);
    findings.push(...found);
  }
  let blocksChecked = 0;
  let findingCount = findings.length;
  if (!quick) {
    const content = await readDisks(sound, structure.images, request);
    findings.push(...content.findings);
    findingCount += content.findingCount;
    blocksChecked = content.blocksChecked;
  }
  // Everything looks damaged in the empty mount point of a repository that was unmounted meanwhile.
  if (findings.length > 0) await repository.availableBytes();
  return { full: !quick, blocksChecked, findingCount, findings: findings.slice(0, MAX_FINDINGS) };
}

/** One disk after the other: it shares the repository with backups. */
async function readDisks(
  chains: readonly DiskChain[],
  images: QemuImg,
  request: VerifyRequest,
): Promise<Omit<Verification, 'full'>> {
  const { repository, tools, rateLimitBytesPerSecond: rate, log, signal, onProgress } = request;
  const capacityOf = ({ images: [own] }: DiskChain) => own?.capacityBytes ?? 0;
  const total = chains.reduce((sum, chain) => sum + capacityOf(chain), 0);
  const rateLimit = rate > 0 ? new RateLimit(rate) : undefined;
  const findings: Finding[] = [];
  let [blocksChecked, findingCount, before] = [0, 0, 0];
  for (const chain of chains) {
    const done = before;
    const result = await verifyDiskContent(chain, {
      ...{ repositoryPath: repository.path, images, log: log.child({ diskKey: chain.diskKey }), signal },
      qemuNbd: tools.qemuNbd,
      runtimeDirectory: tools.runtimeDirectory,
      owner: tools.owner,
      maxFindings: MAX_FINDINGS,
      // What is a hole is passed over, so the end is where the disk ends, not what was read.
      onProgress: (bytes) => onProgress?.(Math.min(done + bytes, total), total),
      ...(rateLimit ? { rateLimit } : {}),
    });
    before += capacityOf(chain);
    onProgress?.(before, total);
    blocksChecked += result.blocksChecked;
    findingCount += Math.max(result.mismatches, result.findings.length);
    findings.push(...result.findings);
  }
  return { blocksChecked, findingCount, findings };
}

async function requireTool(command: string, code: 'qemu_img_failed', setting: string): Promise<void> {
  if ((await findExecutable(command)) !== undefined) return;
  throw new SendenseError(
    code,
    `${command} is not there, so no restore point can be verified: install the package qemu-utils, or set ${setting}`,
    { context: { command } },
  );
}

/** `disk 2000 at offset 1048576 in ctx-…/disk-0/backup-….qcow2 (backup-…): its content is not what was read there` */
export function describeFinding({ disk, offset, path, pointId, detail }: Finding): string {
  const where = disk ? `disk ${disk.key}${offset === undefined ? '' : ` at offset ${offset}`} in ` : '';
  return `${where}${path} (${pointId}): ${detail}`;
}
