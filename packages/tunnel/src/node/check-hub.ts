import { SendenseError } from '@sendense/core';
import type { HubAddress } from './hub-address.js';

export interface HubCheck {
  /** `hub_address`, `hub_port`, `hub_host_key`, `hub_accepts_key` */
  readonly name: string;
  readonly ok: boolean;
  /** What was found, and the fix when it is not ok. */
  readonly detail: string;
}

export interface CheckHubOptions {
  readonly hub: HubAddress;
  readonly nodeName: string;
  readonly privateKeyPem: string;
  readonly signal?: AbortSignal;
  /** For each step. @default 10000 */
  readonly timeoutMs?: number;
}

/** Goes the way that the tunnel goes, one step after another; stops at the first that fails. */
export async function checkHub(_options: CheckHubOptions): Promise<HubCheck[]> {
  throw new SendenseError('internal', 'checks are not built yet');
}
