import { throwIfAborted, type Extent } from '@sendense/core';
import type { NbdClient } from './client/client.js';
import { MAX_RANGE_BYTES } from './client/protocol.js';

/**
 * The extents of an export that hold data: all but those that the server says read as zeros. A hole that is not said to
 * be zero may read as anything, and counts as data.
 *
 * @returns ascending, disjoint, merged
 * @throws `nbd_refused` when the server has no block status; as {@link NbdClient.blockStatus}; the signal's reason
 */
export async function allocatedExtents(
  client: NbdClient,
  { signal }: { readonly signal: AbortSignal },
): Promise<Extent[]> {
  const { sizeBytes } = client.export;
  const extents: { offset: number; length: number }[] = [];
  for (let offset = 0; offset < sizeBytes;) {
    throwIfAborted(signal);
    const status = await client.blockStatus(offset, Math.min(sizeBytes - offset, MAX_RANGE_BYTES));
    for (const part of status) {
      offset = part.offset + part.length;
      if (part.zero) continue;
      const last = extents.at(-1);
      if (last && last.offset + last.length === part.offset) last.length += part.length;
      else extents.push({ offset: part.offset, length: part.length });
    }
  }
  return extents;
}
