import type { Catalog, VmRecord } from '@sendense/catalog';
import type { VCenterConnection } from '@sendense/contracts';
import { planDisks, printable, SendenseError, toSendenseError, type VmDisk } from '@sendense/core';
import { toDiscoveredVm } from '../vcenters/discovered-vm.js';
import { withStoredLogin } from '../vcenters/stored-login.js';
import type { BackupRunsDependencies, UsableRepository } from './dependencies.js';
import { previousPoint } from './previous-point.js';
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
  nodeName: string,
): Promise<VmRecord> {
  const vm = await catalog.vms.get(contextId);
  const { vcenterId, endpoint, username, password, thumbprint } =
    await catalog.vcenters.connectionOf(contextId);
  // The instance uuid is the VM's identity; a moref changes when the VM is registered anew.
  const filter = vm.instanceUuid === '' ? { moref: vm.moref } : { instanceUuid: vm.instanceUuid };
  const [found] = await withStoredLogin(vcenterId, () =>
    nodes.client(nodeName).listVirtualMachines({ endpoint, username, password, thumbprint }, filter),
  );
  if (found) return catalog.vms.refresh(contextId, toDiscoveredVm(found));
  throw new SendenseError(
    'vm_not_found',
    `${printable(vm.name)} (${vm.moref}, instance uuid ${vm.instanceUuid}) is no longer on ${endpoint}: was it deleted or moved to another vCenter?`,
    { context: { context_id: contextId, vm_moref: vm.moref, vcenter: endpoint } },
  );
}

/** How the node logs in to the VM's vCenter. Secret. @throws `vm_not_protected` · `credentials_missing` · `credentials_unreadable` */
export async function connectionOf(catalog: Catalog, contextId: string): Promise<VCenterConnection> {
  const { endpoint, username, password, thumbprint } = await catalog.vcenters.connectionOf(contextId);
  return { endpoint, username, password, thumbprint };
}

/** What a backup of this VM, as the catalogue knows it, would do. @throws `vm_has_no_disks` */
export async function planBackup(
  { catalog }: Pick<BackupRunsDependencies, 'catalog'>,
  request: BackupRequest,
  vm: VmRecord,
  repository: UsableRepository,
): Promise<BackupPlan> {
  const { disks, skipped } = planDisks({
    vmName: vm.name,
    type: request.type,
    disks: asPlanned(vm),
    previous: await previousPoint(catalog, request, repository),
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

/**
 * The plan by what the catalogue knows, without looking at anything else: what is shown until the backup's turn has come
 * and it is planned for good. Empty when the catalogue knows of no disk to back up.
 */
export async function planKnown(
  catalog: Catalog,
  request: BackupRequest,
  vm: VmRecord,
): Promise<Pick<BackupPlan, 'disks' | 'skippedDisks'>> {
  try {
    const { disks, skipped } = planDisks({
      vmName: vm.name,
      type: request.type,
      disks: asPlanned(vm),
      previous: await previousPoint(catalog, request),
    });
    return { disks, skippedDisks: skipped };
  } catch (error) {
    if (toSendenseError(error).code !== 'vm_has_no_disks') throw error;
    return { disks: [], skippedDisks: [] };
  }
}

function asPlanned(vm: VmRecord): VmDisk[] {
  return vm.disks.map(({ diskNumber, diskKey, ...disk }) => ({ ...disk, number: diskNumber, key: diskKey }));
}
