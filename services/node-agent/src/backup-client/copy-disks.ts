import type { AuditedBlock, ChangeTracking, JobFinished } from '@sendense/contracts';
import {
  BlockHashWriter,
  BufferPool,
  bytesToRead,
  copyDisk,
  MAX_PIECE_BYTES,
  RateLimit,
  type CopyResult,
  type NbdClient,
} from '@sendense/nbd';
import { OwnedStack, type Logger } from '@sendense/runtime';
import type { VSphereSession } from '@sendense/vsphere';
import { hashesPath } from '../config.js';
import { auditBlocks } from './audit.js';
import type { DeliveryRoute } from './delivery.js';
import { findExtents, type FoundExtents } from './extents.js';
import { inParallel } from './in-parallel.js';
import { requireSameBacking } from './inventory.js';
import type { JobPorts } from './job.js';
import { ProgressReporter } from './progress.js';
import { rootCause } from './root-cause.js';
import { snapshotDisk, type BackupSnapshot } from './snapshot.js';
import { openSource, type DiskSource } from './source.js';
import type { DiskSpec, JobSpec } from './spec.js';
import { openTargets, requireSize } from './targets.js';

/**
 * What bounds the memory of a job, whatever its disks: 64 MiB in flight between reading and the hub's answer. Without latency
 * 12 do as well; at 50 ms of round trip 64 are needed to keep nine tenths of the speed. They take up memory only between
 * arriving and leaving: a backup client peaks at 160 MiB.
 */
const BUFFERS = { bufferBytes: MAX_PIECE_BYTES, count: 32 };

export interface CopyContext {
  readonly spec: JobSpec;
  readonly ports: JobPorts;
  readonly delivery: DeliveryRoute;
  readonly vcenter: VSphereSession;
  readonly snapshot: BackupSnapshot;
  readonly foreignSnapshots: number;
  readonly tracking: ChangeTracking;
}

/** What the disks of one job share. */
interface Shared {
  readonly buffers: BufferPool;
  readonly rateLimit: RateLimit | undefined;
  readonly progress: ProgressReporter;
}

/** Copies every disk of the snapshot, several at a time. The first failure stops the others and is thrown. */
export async function copyDisks(context: CopyContext, signal: AbortSignal): Promise<JobFinished> {
  const { spec, ports } = context;
  using progress = new ProgressReporter(ports.emit);
  const rate = spec.rateLimitBytesPerSecond;
  const rateLimit = rate > 0 ? new RateLimit(rate) : undefined;
  const shared: Shared = { buffers: new BufferPool(BUFFERS), rateLimit, progress };
  const results = await inParallel(spec.disks, spec.parallelDisks, signal, (disk, diskSignal) =>
    copyOneDisk(context, shared, disk, diskSignal),
  );
  const sum = (bytes: (result: CopyResult) => number) =>
    BigInt(results.reduce((total, result) => total + bytes(result), 0));
  return {
    bytesRead: sum((result) => result.bytesRead),
    bytesWritten: sum((result) => result.bytesWritten),
    bytesZeroed: sum((result) => result.bytesZeroed),
  };
}

async function copyOneDisk(
  context: CopyContext,
  shared: Shared,
  disk: DiskSpec,
  signal: AbortSignal,
): Promise<CopyResult> {
  const { spec, ports, delivery, vcenter, snapshot } = context;
  const log = ports.log.child({ diskKey: disk.key });
  const startedAt = Date.now();
  const found = snapshotDisk(snapshot, disk.key);
  requireSameBacking(spec, disk, found);
  await using owned = new OwnedStack(log);
  const source = await openSource({ spec, vcenter, snapshot, found, log }, owned, signal);
  try {
    const targets = await openTargets(delivery, disk, owned, log, signal);
    requireSize(disk, source.client);
    const extents = await findExtents(
      { ...context, snapshotMoref: snapshot.moref, disk, found, source: source.client },
      signal,
    );
    announce(ports, disk, extents);
    const parts = { context, shared, disk, source, targets, extents, owned, log };
    const result = await copy(parts, signal);
    const auditedBlocks = await audit(parts, signal);
    const { bytesRead, bytesWritten, bytesZeroed, hashedBlocks } = result;
    log.info({ ...result, extentSource: extents.source }, 'disk copied');
    const value = {
      diskKey: disk.key,
      bytesRead: BigInt(bytesRead),
      bytesWritten: BigInt(bytesWritten),
      bytesZeroed: BigInt(bytesZeroed),
      hashedBlocks: BigInt(hashedBlocks),
      durationMs: BigInt(Date.now() - startedAt),
      auditedBlocks,
    };
    ports.emit({ $case: 'diskFinished', value });
    return result;
  } catch (error) {
    throw await rootCause(error, { source, delivery }, signal);
  }
}

function announce(ports: JobPorts, disk: DiskSpec, found: FoundExtents): void {
  ports.emit({
    $case: 'diskStarted',
    value: {
      diskKey: disk.key,
      bytesTotal: BigInt(bytesToRead(found.extents, disk.capacityBytes)),
      extentSource: found.source,
      extentCount: BigInt(found.extents.length),
      fullReason: found.fullInstead?.reason ?? '',
      fullDetail: found.fullInstead?.detail ?? '',
    },
  });
}

interface CopyParts {
  readonly context: CopyContext;
  readonly shared: Shared;
  readonly disk: DiskSpec;
  readonly source: DiskSource;
  readonly targets: readonly NbdClient[];
  readonly extents: FoundExtents;
  readonly owned: OwnedStack;
  readonly log: Logger;
}

/** Copies, flushes, and makes the hashes durable. */
async function copy(parts: CopyParts, signal: AbortSignal): Promise<CopyResult> {
  const { context, shared, disk, source, targets, extents, owned, log } = parts;
  const { buffers, rateLimit, progress } = shared;
  const hashesDirectory = context.spec.hashesDirectory;
  const hashes =
    hashesDirectory === undefined
      ? undefined
      : owned.use(
          'block hashes',
          await BlockHashWriter.create(hashesPath(hashesDirectory, disk.key), {
            sizeBytes: disk.capacityBytes,
          }),
        );
  const result = await copyDisk({
    source: source.client,
    targets,
    extents: extents.extents,
    sizeBytes: disk.capacityBytes,
    // The hub cuts the backing file off a target that became a full.
    targetHasBacking: disk.target.hasBacking && extents.fullInstead === undefined,
    buffers,
    signal,
    log,
    ...(hashes ? { hashes } : {}),
    ...(rateLimit ? { rateLimit } : {}),
    onProgress: (done, total) => progress.update(disk.key, done, total),
  });
  await hashes?.finish();
  return result;
}

/** Checks vCenter's word on what did not change, where it was relied on. */
async function audit(parts: CopyParts, signal: AbortSignal): Promise<AuditedBlock[]> {
  const { context, shared, disk, source, extents, log } = parts;
  if (extents.source !== 'changed_areas') return [];
  const { audited, failure } = await auditBlocks(
    {
      source: source.client,
      blocks: disk.auditBlocks ?? [],
      changed: extents.extents,
      sizeBytes: disk.capacityBytes,
      buffers: shared.buffers,
      rateLimit: shared.rateLimit,
      log,
    },
    signal,
  );
  if (failure) {
    const message = `the audit of changed block tracking could not read every block of disk ${disk.key}: ${failure.message}`;
    const value = {
      code: 'cbt_audit_incomplete',
      message,
      context: { ...failure.context, disk_key: String(disk.key) },
    };
    context.ports.emit({ $case: 'warning', value });
  }
  return [...audited];
}
