import type {
  ListVirtualMachinesRequest,
  ListVirtualMachinesResponse,
  VirtualDisk,
  VirtualMachine,
} from '@sendense/contracts';
import { connectVSphere, type VirtualMachine as FoundVm } from '@sendense/vsphere';
import { connectOptions } from './connect-options.js';
import type { RpcContext } from './context.js';
import { moref, optional, vcenter } from './validation.js';

export async function listVirtualMachines(
  request: ListVirtualMachinesRequest,
  { log }: RpcContext,
  signal: AbortSignal,
): Promise<ListVirtualMachinesResponse> {
  const credentials = vcenter(request.vcenter);
  const filter = {
    ...(request.moref === '' ? {} : { moref: moref('moref', request.moref) }),
    ...(request.instanceUuid === ''
      ? {}
      : { instanceUuid: optional('instance_uuid', request.instanceUuid, 'a UUID') }),
  };
  await using session = await connectVSphere(connectOptions(credentials, log, signal));
  return { virtualMachines: (await session.listVirtualMachines(filter)).map(toMessage) };
}

function toMessage({ disks, ...vm }: FoundVm): VirtualMachine {
  return { ...vm, disks: disks.map(diskToMessage) };
}

function diskToMessage({
  capacityBytes,
  unsupportedReason,
  changeId: _changeId,
  ...disk
}: FoundVm['disks'][number]): VirtualDisk {
  return { ...disk, capacityBytes: BigInt(capacityBytes), unsupportedReason: unsupportedReason ?? '' };
}
