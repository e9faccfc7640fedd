import type { EnableChangeTrackingRequest, EnableChangeTrackingResponse } from '@sendense/contracts';
import { connectVSphere } from '@sendense/vsphere';
import { connectOptions } from './connect-options.js';
import type { RpcContext } from './context.js';
import { moref, vcenter } from './validation.js';

export async function enableChangeTracking(
  request: EnableChangeTrackingRequest,
  { log }: RpcContext,
  signal: AbortSignal,
): Promise<EnableChangeTrackingResponse> {
  const credentials = vcenter(request.vcenter);
  const vmMoref = moref('vm_moref', request.vmMoref);
  await using session = await connectVSphere(connectOptions(credentials, log, signal));
  const outcome = await session.enableChangeTracking(vmMoref, signal);
  const enabled = outcome === 'already_enabled' || outcome === 'enabled_now';
  return { changeTracking: { enabled, outcome } };
}
