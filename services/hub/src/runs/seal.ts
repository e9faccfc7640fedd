import { createWriteStream } from 'node:fs';
import { rm, stat } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import type { RestorePointRecord, VmRecord } from '@sendense/catalog';
import { SendenseError, throwIfAborted } from '@sendense/core';
import { verifyBlockHashesFile } from '@sendense/nbd';
import { QemuImg } from '@sendense/qemu';
import { syncDirectory, syncFile } from '@sendense/runtime';
import { dirname } from 'node:path';
import { checkAudit, type CbtAudit } from './cbt-audit.js';
import type { BackupRunsDependencies, RunTiming, UsableRepository } from './dependencies.js';
import { whileReachable } from './follow-job.js';
import { inheritDoubt } from './inherit-doubt.js';
import { MANIFEST_SCHEMA, type Manifest, type ManifestDisk } from './manifest.js';
import type { NodeOutcome } from './node-events.js';
import { decide, publishFiles, sealRequest } from './publish.js';
import type { Run } from './run-state.js';
import type { Target } from './targets.js';
import type { BackupPlan } from './types.js';

export interface SealDependencies extends Pick<
  BackupRunsDependencies,
  'catalog' | 'nodes' | 'config' | 'engine'
> {
  readonly timing: RunTiming;
}

/** What is sealed. */
export interface Sealable {
  readonly plan: BackupPlan;
  readonly vm: VmRecord;
  /** Their qemu-nbds have ended well. */
  readonly disks: readonly Target[];
  readonly outcome: NodeOutcome;
  readonly audit: CbtAudit;
  readonly repository: UsableRepository;
}

/**
 * Makes a restore point of what was copied. Nothing is restorable before this, everything after; what is interrupted once
 * it was decided is finished by the next start.
 *
 * @throws `cbt_audit_failed` · `image_check_failed` · `block_hashes_invalid` · `node_lost` · `repository_full` · the reason
 *   why the run was stopped
 */
export async function seal(
  run: Run,
  sealable: Sealable,
  dependencies: SealDependencies,
): Promise<RestorePointRecord> {
  const { disks, outcome, audit, repository } = sealable;
  // New files are made by name from here on: not in the empty mount point of a repository that was unmounted meanwhile.
  await repository.availableBytes();
  await checkAudit(run, audit, outcome, dependencies);
  for (const disk of disks) await fetchHashes(run, disk, dependencies);
  const images = new QemuImg({ command: dependencies.config.qemuImg });
  for (const { plan, image } of disks)
    if (outcome.disk(plan.key).full) await cutOff(images, image.partial, run.signal);
  for (const { image } of disks) await images.check(image.partial, { signal: run.signal });
  await makeDurable(disks);
  const manifest = await describe(run, sealable, dependencies);
  run.commit();
  await decide(repository.path, manifest);
  await publishFiles(repository.path, manifest);
  const point = await dependencies.catalog.backups.seal(run.id, sealRequest(manifest));
  return inheritDoubt(dependencies.catalog, point);
}

/** The hashes of what the node read at the source, by which the image can be verified for ever. */
async function fetchHashes(
  run: Run,
  { plan, hashes }: Target,
  { nodes, timing }: SealDependencies,
): Promise<void> {
  const client = nodes.client(run.nodeName);
  const contact = { nodeLostMs: timing.nodeLostWhileSealingMs, signal: run.signal, log: run.log };
  await whileReachable(run.nodeName, contact, async () => {
    await rm(hashes.partial, { force: true });
    await pipeline(
      client.readBlockHashes(run.id, plan.key, run.signal),
      createWriteStream(hashes.partial, { flags: 'wx', mode: 0o640 }),
    );
  });
  const { sizeBytes } = await verifyBlockHashesFile(hashes.partial);
  if (sizeBytes === plan.capacityBytes) return;
  throw new SendenseError(
    'block_hashes_invalid',
    `the node's block hashes of disk ${plan.key} are those of a disk of ${sizeBytes} bytes, not ${plan.capacityBytes}; start the backup again`,
    { context: { disk_key: plan.key, path: hashes.partial } },
  );
}

/** It was planned as an incremental and read in full: what was not written reads as zeros from here on, and must. */
async function cutOff(images: QemuImg, path: string, signal: AbortSignal): Promise<void> {
  await images.rebase(path, { backing: undefined, unsafe: true, signal });
}

async function makeDurable(disks: readonly Target[]): Promise<void> {
  for (const { image, hashes } of disks) {
    await syncFile(image.partial);
    await syncFile(hashes.partial);
    // disk-<n>, the context and the repository: each may be new.
    const folder = dirname(image.path);
    for (const path of [folder, dirname(folder), dirname(dirname(folder))]) await syncDirectory(path);
  }
}

async function describe(
  run: Run,
  { plan, vm, disks, outcome, repository }: Sealable,
  { catalog, engine }: SealDependencies,
): Promise<Manifest> {
  throwIfAborted(run.signal);
  const record = await catalog.backups.get(run.id);
  const vcenter = vm.vcenterId === undefined ? undefined : await catalog.vcenters.find(vm.vcenterId);
  const { snapshot, takenAt = new Date() } = outcome;
  return {
    schema: MANIFEST_SCHEMA,
    engine,
    backup_id: run.id,
    context_id: run.contextId,
    repository_id: repository.id,
    node_name: run.nodeName,
    vm: {
      name: vm.name,
      instance_uuid: vm.instanceUuid,
      moref: vm.moref,
      guest_full_name: vm.guestFullName,
    },
    vcenter: vcenter?.endpoint ?? '',
    requested_type: run.request.type,
    created_at: record.createdAt.toISOString(),
    taken_at: takenAt.toISOString(),
    sealed_at: new Date().toISOString(),
    snapshot: { moref: snapshot?.moref ?? '', name: snapshot?.name ?? '' },
    quiesce: {
      requested: run.request.quiesce,
      done: snapshot?.quiesced ?? false,
      note: snapshot?.quiesceNote ?? '',
    },
    change_tracking: outcome.changeTracking,
    foreign_snapshots: outcome.foreignSnapshots,
    warnings: record.warnings.map(({ code, message }) => ({ code, message })),
    skipped_disks: plan.skippedDisks.map(({ number, key, label, reason }) => ({
      disk_number: number,
      disk_key: key,
      label,
      reason,
    })),
    disks: await Promise.all(disks.map((disk) => describeDisk(disk, vm, outcome))),
  };
}

async function describeDisk(
  { plan, layout, image }: Target,
  vm: VmRecord,
  outcome: NodeOutcome,
): Promise<ManifestDisk> {
  const { changeId, extentSource, bytesRead, bytesWritten, bytesZeroed, full, audited } = outcome.disk(
    plan.key,
  );
  const parent = plan.type === 'incremental' && !full ? plan.parent : undefined;
  const { blocks } = await stat(image.partial);
  return {
    disk_id: plan.diskId,
    disk_number: plan.number,
    disk_key: plan.key,
    label: plan.label,
    backing_uuid: plan.backingUuid,
    backing_file: vm.disks.find(({ diskId }) => diskId === plan.diskId)?.backingFile ?? '',
    capacity_bytes: plan.capacityBytes,
    backup_type: parent ? 'incremental' : 'full',
    reason: full?.reason ?? plan.reason,
    image: layout.imagePath,
    image_format: 'qcow2',
    stored_bytes: blocks * 512,
    hashes: layout.hashesPath,
    parent: parent ? { backup_id: parent.restorePointId, image: parent.imagePath } : null,
    change_id: changeId ?? null,
    extent_source: extentSource,
    bytes_read: bytesRead,
    bytes_written: bytesWritten,
    bytes_zeroed: bytesZeroed,
    ...(parent ? { audited_blocks: audited.length } : {}),
  };
}
