import type { CheckVCenterRequest, CheckVCenterResponse } from '@sendense/contracts';
import { connectVSphere } from '@sendense/vsphere';
import { connectOptions } from './connect-options.js';
import type { RpcContext } from './context.js';
import { vcenter } from './validation.js';

/** Without a thumbprint nothing is sent: the answer is `vcenter_thumbprint_unconfirmed` with the presented ones. */
export async function checkVCenter(
  request: CheckVCenterRequest,
  { log }: RpcContext,
  signal: AbortSignal,
): Promise<CheckVCenterResponse> {
  const credentials = vcenter(request.vcenter, { thumbprint: false });
  await using session = await connectVSphere(connectOptions(credentials, log, signal));
  const { product, version, apiVersion, instanceUuid } = session.about;
  const { sha256, sha1 } = session.thumbprints;
  return { product, version, apiVersion, instanceUuid, thumbprintSha256: sha256, thumbprintSha1: sha1 };
}
