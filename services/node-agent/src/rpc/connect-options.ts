import type { Logger } from '@sendense/runtime';
import type { connectVSphere } from '@sendense/vsphere';
import type { VCenterCredentials } from '../backup-client/spec.js';

/** How the calls reach a vCenter. The hub waits a minute for an answer, so a vCenter that is silent is given up earlier. */
const REQUEST_TIMEOUT_MS = 30_000;

export function connectOptions(
  { endpoint, username, password, thumbprint }: VCenterCredentials,
  log: Logger,
  signal: AbortSignal,
): Parameters<typeof connectVSphere>[0] {
  return {
    endpoint,
    username,
    password,
    ...(thumbprint === '' ? {} : { thumbprint }),
    log,
    signal,
    requestTimeoutMs: REQUEST_TIMEOUT_MS,
  };
}
