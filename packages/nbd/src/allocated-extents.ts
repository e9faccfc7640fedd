import { SendenseError, type Extent } from '@sendense/core';
import type { NbdClient } from './client/client.js';

/** The extents that hold data, by block status. */
export async function allocatedExtents(
  _client: NbdClient,
  _o: { readonly signal: AbortSignal },
): Promise<Extent[]> {
  throw new SendenseError('internal', 'not built yet');
}
