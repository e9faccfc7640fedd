import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { SendenseError } from '@sendense/core';
import { isNodeName, type HubAddress } from '@sendense/tunnel';

/** Who this node is to its hub. */
export interface Enrolment {
  readonly nodeName: string;
  readonly hub: HubAddress;
  readonly enrolledAt: Date;
  /** The node's ed25519 key: a secret. */
  readonly privateKeyPem: string;
}

export function enrolmentPath(dataDirectory: string): string {
  return join(dataDirectory, 'node.json');
}

export function keyPath(dataDirectory: string): string {
  return join(dataDirectory, 'id_ed25519');
}

/** @throws `invalid_config` when the node is not enrolled or a file is damaged · `permission_denied` (see {@link readKey}) */
export async function readEnrolment(dataDirectory: string): Promise<Enrolment> {
  const identity = await readIdentity(dataDirectory);
  return { ...identity, privateKeyPem: await readKey(dataDirectory) };
}

/** `node.json` alone. @throws `invalid_config` */
export async function readIdentity(dataDirectory: string): Promise<Omit<Enrolment, 'privateKeyPem'>> {
  const path = enrolmentPath(dataDirectory);
  let content: string;
  try {
    content = await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') {
      throw new SendenseError(
        'invalid_config',
        `this node is not enrolled (${path} does not exist): run 'sendense-node enrol --hub HOST:PORT --token TOKEN' with a token from 'sendense node add NAME'`,
        { context: { path } },
      );
    }
    throw new SendenseError('invalid_config', `${path} cannot be read: ${(error as Error).message}`, {
      context: { path },
      cause: error,
    });
  }
  const identity = parseIdentity(content);
  if (identity) return identity;
  throw new SendenseError('invalid_config', `${path} is damaged: enrol the node again with --force`, {
    context: { path },
  });
}

export function parseIdentity(content: string): Omit<Enrolment, 'privateKeyPem'> | undefined {
  let parsed: unknown;
  try {
    parsed = JSON.parse(content);
  } catch {
    return undefined;
  }
  if (typeof parsed !== 'object' || parsed === null) return undefined;
  const { nodeName, hub, enrolledAt } = parsed as Record<string, unknown>;
  if (typeof nodeName !== 'string' || !isNodeName(nodeName)) return undefined;
  if (typeof hub !== 'object' || hub === null) return undefined;
  const { host, port, hostKeyFingerprint } = hub as Record<string, unknown>;
  if (typeof host !== 'string' || host === '') return undefined;
  if (typeof port !== 'number' || !Number.isInteger(port) || port < 1 || port > 65_535) return undefined;
  if (typeof hostKeyFingerprint !== 'string' || !hostKeyFingerprint.startsWith('SHA256:')) return undefined;
  const at = new Date(typeof enrolledAt === 'string' ? enrolledAt : Number.NaN);
  if (Number.isNaN(at.getTime())) return undefined;
  return { nodeName, hub: { host, port, hostKeyFingerprint }, enrolledAt: at };
}

/** @throws `invalid_config` when there is no key · `permission_denied` when others than its owner can read it */
export async function readKey(dataDirectory: string): Promise<string> {
  const path = keyPath(dataDirectory);
  try {
    const { mode } = await stat(path);
    if ((mode & 0o077) !== 0) {
      throw new SendenseError(
        'permission_denied',
        `the node's key ${path} can be read by others (mode ${(mode & 0o777).toString(8)}): run 'chmod 600 ${path}', and enrol the node again if somebody may have read it`,
        { context: { path } },
      );
    }
    return await readFile(path, 'utf8');
  } catch (error) {
    if (error instanceof SendenseError) throw error;
    throw new SendenseError(
      'invalid_config',
      `the node's key ${path} cannot be read (${(error as Error).message}): enrol the node again with --force`,
      { context: { path }, cause: error },
    );
  }
}
