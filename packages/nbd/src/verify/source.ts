import type { NbdClient } from '../client/client.js';
import type { NbdExport } from '../client/export.js';

/** What a verification reads: an NBD client, or whatever else shows the same disk by the same rules. */
export interface VerifySource extends Pick<NbdClient, 'exportName' | 'blockStatus' | 'abandon'> {
  readonly export: Pick<NbdExport, 'sizeBytes' | 'hasBlockStatus'>;
  /** As {@link NbdClient.read}, into a buffer that has room for it. */
  read(offset: number, length: number, into: Buffer): Promise<Buffer>;
}
