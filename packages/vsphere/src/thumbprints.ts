import { SendenseError } from '@sendense/core';
import type { Thumbprints } from './types.js';

/** The certificate that an endpoint presents, for a person to confirm. Nothing is sent. @throws `vcenter_unreachable` */
export async function fetchThumbprints(endpoint: string): Promise<Thumbprints> {
  throw new SendenseError('internal', `not yet: ${endpoint}`);
}
