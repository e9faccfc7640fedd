import { SendenseError } from '@sendense/core';
import type { Logger } from '@sendense/runtime';
import type { NbdAddress } from '../address.js';
import type { NbdExport } from './export.js';

export interface ProbeOptions {
  readonly log: Logger;
  /** @default 10000 */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

export async function probeExport(
  _address: NbdAddress,
  _exportName: string,
  _options: ProbeOptions,
): Promise<NbdExport> {
  throw new SendenseError('internal', 'not built yet');
}
