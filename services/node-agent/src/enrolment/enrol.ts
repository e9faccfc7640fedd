import { access } from 'node:fs/promises';
import { SendenseError } from '@sendense/core';
import {
  buildInfo,
  ensureDirectory,
  lockDirectory,
  silentLogger,
  writeFileAtomically,
  type Logger,
} from '@sendense/runtime';
import { enrol, generateEd25519Key } from '@sendense/tunnel';
import { enrolmentPath, keyPath } from './enrolment.js';

export interface EnrolNodeOptions {
  readonly dataDirectory: string;
  /** The hub's tunnel address, as this node reaches it. */
  readonly hub: { readonly host: string; readonly port: number };
  /** As the hub gave it out, once. */
  readonly token: string;
  /** Replace an enrolment that is already there. @default false */
  readonly force?: boolean;
  readonly log?: Logger;
  readonly signal?: AbortSignal;
}

/**
 * Makes a key, has the hub accept it for this token, and writes both down. The key is written first: `node.json` is what
 * makes a node enrolled, and it never stands there without its key.
 *
 * @throws `already_exists` · `data_directory_in_use` (the node runs) · `invalid_argument` (token) · `host_key_mismatch` ·
 *   `enrolment_refused` · `tunnel_lost`
 */
export async function enrolNode(options: EnrolNodeOptions): Promise<{ nodeName: string }> {
  const { dataDirectory, hub, token, force = false, log = silentLogger, signal } = options;
  await ensureDirectory(dataDirectory, 0o700);
  using _lock = lockDirectory(dataDirectory, { service: 'sendense-node enrol', version: buildInfo.version });
  const path = enrolmentPath(dataDirectory);
  if (!force && (await exists(path))) {
    throw new SendenseError(
      'already_exists',
      `this node is enrolled already (${path}): use --force to replace that`,
      {
        context: { path },
      },
    );
  }
  const { privateKeyPem } = generateEd25519Key();
  const { nodeName, hostKeyFingerprint } = await enrol({
    hub,
    token,
    privateKeyPem,
    log,
    ...(signal ? { signal } : {}),
  });
  await writeFileAtomically(keyPath(dataDirectory), privateKeyPem, 0o600);
  const identity = { nodeName, hub: { ...hub, hostKeyFingerprint }, enrolledAt: new Date().toISOString() };
  await writeFileAtomically(path, `${JSON.stringify(identity, undefined, 2)}\n`, 0o600);
  return { nodeName };
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
