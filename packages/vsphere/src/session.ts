import { SendenseError } from '@sendense/core';
import type { ConnectOptions, VSphereSession } from './types.js';

/** @throws `vcenter_unreachable` · `vcenter_thumbprint_mismatch` · `vcenter_thumbprint_unconfirmed` · `vcenter_login_failed` */
export async function connectVSphere(options: ConnectOptions): Promise<VSphereSession> {
  throw new SendenseError('internal', `not yet: ${options.endpoint}`);
}
