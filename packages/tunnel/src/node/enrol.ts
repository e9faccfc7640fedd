import { SendenseError } from '@sendense/core';
import type { Logger } from '@sendense/runtime';

export interface EnrolOptions {
  readonly hub: { readonly host: string; readonly port: number };
  /** As `POST /api/v1/nodes` gave it: names the node, the secret and the hub's host key. */
  readonly token: string;
  /** The node's new key: the hub stores its public half. */
  readonly privateKeyPem: string;
  readonly signal?: AbortSignal;
  readonly log: Logger;
}

/**
 * Makes the hub accept this node's key from now on.
 *
 * @returns the node's name, and the host key fingerprint to pin
 * @throws `invalid_argument` (token), `host_key_mismatch`, `enrolment_refused` (with the hub's reason), `tunnel_lost`
 */
export async function enrol(
  _options: EnrolOptions,
): Promise<{ readonly nodeName: string; readonly hostKeyFingerprint: string }> {
  throw new SendenseError('internal', 'enrolment is not built yet');
}
