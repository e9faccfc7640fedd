import { access } from 'node:fs/promises';
import { join } from 'node:path';
import type { Catalog, RestorePointRecord, VmRecord } from '@sendense/catalog';
import type { VCenterConnection } from '@sendense/contracts';
import { planDisks, printable, SendenseError, type PreviousPoint } from '@sendense/core';
import { toDiscoveredVm } from '../vcenters/discovered-vm.js';
import type { BackupRunsDependencies, UsableRepository } from './dependencies.js';
import type { BackupPlan, BackupRequest } from './types.js';

/**
 * Asks the node which disks the VM has now, and keeps the answer in the catalogue: disks come, go and grow between two
 * backups.
 *
 * @throws `node_offline` · `credentials_missing` · `vm_not_found` · what the vCenter answered
 */
export async function discover(
  { catalog, nodes }: Pick<BackupRunsDependencies, 'catalog' | 'nodes'>,
  contextId: string,
): Promise<VmRecord> {
  const vm = await catalog.vms.get(contextId);
  const { nodeName, ...vcenter } = await connectionOf(catalog, contextId);
  // The instance uuid is the VM's identity; a moref changes when the VM is registered anew.
  const filter = vm.instanceUuid === '' ? { moref: vm.moref } : { instanceUuid: vm.instanceUuid };
  const [found] = await nodes.client(nodeName).listVirtualMachines(vcenter, filter);
  if (found) return catalog.vms.refresh(contextId, toDiscoveredVm(found));
  throw new SendenseError(
    'vm_not_found',
    `${printable(vm.name)} (${vm.moref}, instance uuid ${vm.instanceUuid}) is no longer on ${vcenter.endpoint}: was it deleted or moved to another vCenter?`,
    { context: { context_id: contextId, vm_moref: vm.moref, vcenter: vcenter.endpoint } },
  );
}

/** How the node logs in to the VM's vCenter. Secret. @throws `vm_not_protected` · `credentials_missing` · `credentials_unreadable` */
export async function connectionOf(
  catalog: Catalog,
  contextId: string,
): Promise<VCenterConnection & { readonly nodeName: string }> {
  const { nodeName, endpoint, username, password, thumbprint } =
    await catalog.vcenters.connectionOf(contextId);
  return { nodeName, endpoint, username, password, thumbprint };
}

/** What a backup of this VM, as the catalogue knows it, would do. @throws `vm_has_no_disks` */
export async function planBackup(
  { catalog }: Pick<BackupRunsDependencies, 'catalog'>,
  request: BackupRequest,
  vm: VmRecord,
  repository: UsableRepository,
): Promise<BackupPlan> {
  const latest =
    request.type === 'full'
      ? undefined
      : await catalog.restorePoints.latest(request.contextId, request.repositoryId);
  const { disks, skipped } = planDisks({
    vmName: vm.name,
    type: request.type,
    disks: vm.disks.map((disk) => ({ ...disk, number: disk.diskNumber, key: disk.diskKey })),
    previous: latest && (await previousPoint(latest, repository)),
  });
  return {
    contextId: request.contextId,
    vmName: vm.name,
    repositoryId: request.repositoryId,
    type: request.type,
    disks,
    skippedDisks: skipped,
    expectedBytes: disks.reduce((sum, disk) => sum + disk.expectedBytes, 0),
    ports: disks.length,
    availableBytes: await repository.availableBytes(),
  };
}

async function previousPoint(
  point: RestorePointRecord,
  repository: UsableRepository,
): Promise<PreviousPoint> {
  const exists = async (path: string) =>
    access(path).then(
      () => true,
      () => false,
    );
  const disks = await Promise.all(
    point.disks.map(async (disk) => ({
      ...disk,
      number: disk.diskNumber,
      key: disk.diskKey,
      type: disk.backupType,
      missing: !(await exists(join(repository.path, disk.imagePath))),
    })),
  );
  return { id: point.id, disks };
}
