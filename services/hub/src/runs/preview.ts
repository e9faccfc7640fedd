import type { RestorePointRecord, VmRecord } from '@sendense/catalog';
import { manifestPath, printable, SendenseError, type DiskPlan } from '@sendense/core';
import { HASH_BLOCK_BYTES } from '@sendense/nbd';
import { removalCosts } from '../retention/removal-costs.js';
import { planRetention } from '../retention/retention-plan.js';
import type { PortPool } from './ports.js';
import { discover, planBackup } from './planning.js';
import { backupDisks, type RunPorts } from './run.js';
import { requireSpace } from './space.js';
import type { BackupPlan, BackupPreview, BackupRequest } from './types.js';

export interface PreviewPorts extends RunPorts {
  readonly pool: PortPool;
}

/** Per disk, beside its data: headers, tables and a manifest. */
const FIXED_BYTES = 1 << 20;
/** Per 64 KiB of data: a hash, and entries in tables of QCOW2. */
const BYTES_PER_BLOCK = 32;

/**
 * What a backup would do now, asking its node which disks the VM has, and starting and recording nothing.
 *
 * @throws whatever the backup itself would be refused with
 */
export async function previewBackup(ports: PreviewPorts, request: BackupRequest): Promise<BackupPreview> {
  const { catalog, queue, repositories, pool } = ports;
  const known = await catalog.vms.get(request.contextId);
  queue.requirePossible({ ports: backupDisks(known).length, jobId: '' });
  await requireIdle(ports, known);
  const { nodeName } = await catalog.vcenters.connectionOf(request.contextId);
  const repository = await repositories.usable(request.repositoryId);
  await requireSpace(repository);
  const vm = await discover(ports, request.contextId, nodeName);
  queue.requirePossible({ ports: backupDisks(vm).length, jobId: '' });
  const plan = await planBackup(ports, request, vm, repository);
  return {
    ...plan,
    portsFree: pool.free,
    spaceNeededBytes: plan.disks.reduce((sum, disk) => sum + spaceNeeded(disk), 0),
    retention: await previewRetention(ports, plan, vm),
  };
}

/** @throws `backup_already_running` */
async function requireIdle({ catalog }: PreviewPorts, { contextId, name }: VmRecord): Promise<void> {
  const running = (await catalog.backups.active()).find((backup) => backup.contextId === contextId);
  if (!running) return;
  throw new SendenseError(
    'backup_already_running',
    `a backup of ${printable(name)} is running already (${running.id}): wait for it, or cancel it`,
    { context: { backup_id: running.id } },
  );
}

function spaceNeeded({ expectedBytes }: DiskPlan): number {
  return expectedBytes + Math.ceil(expectedBytes / HASH_BLOCK_BYTES) * BYTES_PER_BLOCK + FIXED_BYTES;
}

/** As if the new point were there already: a policy counts it, and what goes may be merged into it. */
async function previewRetention(
  { catalog }: PreviewPorts,
  plan: BackupPlan,
  vm: VmRecord,
): Promise<BackupPreview['retention']> {
  const { contextId, repositoryId, availableBytes } = plan;
  const { points, toRemove } = await planRetention(catalog, contextId, repositoryId, [upcoming(plan, vm)]);
  const remove = toRemove.map(({ id }) => id);
  const costs = removalCosts(
    points.map(({ point }) => point),
    remove,
    availableBytes,
  );
  return { remove, mergeBytes: costs.reduce((sum, { bytesToCopy }) => sum + bytesToCopy, 0) };
}

/** The point that the backup would make; it has no id yet. */
function upcoming({ contextId, repositoryId, disks }: BackupPlan, vm: VmRecord): RestorePointRecord {
  const now = new Date();
  const id = '';
  return {
    id,
    contextId,
    repositoryId,
    vmName: vm.name,
    vmInstanceUuid: vm.instanceUuid,
    type: disks.some(({ type }) => type === 'incremental') ? 'incremental' : 'full',
    takenAt: now,
    sealedAt: now,
    quiesced: false,
    manifestPath: manifestPath(contextId, id),
    state: 'sealed',
    suspect: false,
    suspectReason: undefined,
    verification: undefined,
    verifiedAt: undefined,
    verifiedFull: undefined,
    verificationDetail: undefined,
    fullyVerifiedAt: undefined,
    heldAt: undefined,
    holdReason: undefined,
    disks: disks.map((disk) => ({
      diskId: disk.diskId,
      diskKey: disk.key,
      diskNumber: disk.number,
      label: disk.label,
      backingUuid: disk.backingUuid,
      capacityBytes: disk.capacityBytes,
      backupType: disk.type,
      reason: disk.reason,
      imagePath: '',
      hashesPath: undefined,
      changeId: undefined,
      parentPointId: disk.type === 'incremental' ? disk.parent.restorePointId : undefined,
      bytesRead: disk.expectedBytes,
      storedBytes: disk.expectedBytes,
    })),
  };
}
