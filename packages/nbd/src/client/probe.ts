import type { Logger } from '@sendense/runtime';
import type { NbdAddress } from '../address.js';
import { NbdClient } from './client.js';
import type { NbdExport } from './export.js';

export interface ProbeOptions {
  readonly log: Logger;
  /** @default 10000 */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/**
 * Shakes hands with a server, hangs up, and tells what it serves: the proof that it is up and serves what it should.
 *
 * @throws as {@link NbdClient.connect}
 */
export async function probeExport(
  address: NbdAddress,
  exportName: string,
  options: ProbeOptions,
): Promise<NbdExport> {
  await using client = await NbdClient.connect({ address, exportName, ...options });
  return client.export;
}
