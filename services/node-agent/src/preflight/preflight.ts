import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { dirname } from 'node:path';
import { toSendenseError } from '@sendense/core';
import { checkHub } from '@sendense/tunnel';
import { nodeSocketPath, readNodeConfig, type NodeConfig } from '../config.js';
import { readIdentity, readKey, type Enrolment } from '../enrolment/enrolment.js';
import { checkSocketPath, isAnswered } from '../unix-socket.js';
import { checkMachine, type NodeCheck } from './node-checks.js';

type Identity = Omit<Enrolment, 'privateKeyPem'>;

/**
 * Everything that can be known before a backup, each row with its fix. What depends on a failed row is left out; the rest
 * is checked all the same, so that one run shows all there is to do. Never throws.
 */
export async function preflight(env: NodeJS.ProcessEnv): Promise<NodeCheck[]> {
  const rows: NodeCheck[] = [];
  const config = await row(rows, 'configuration', () => readNodeConfig(env), describeConfig);
  if (!config) return rows;
  const identity = await row(rows, 'enrolment', () => readIdentity(config.dataDirectory), describeIdentity);
  const key = await row(
    rows,
    'key',
    () => readKey(config.dataDirectory),
    () => 'ed25519, readable by its owner only',
  );
  if (identity && key !== undefined)
    rows.push(...(await checkHub({ hub: identity.hub, nodeName: identity.nodeName, privateKeyPem: key })));
  rows.push(await checkSocket(config), ...(await checkMachine(config)));
  if (identity) rows.push(checkClock(identity));
  return rows;
}

async function row<T>(
  rows: NodeCheck[],
  name: string,
  find: () => Promise<T> | T,
  describe: (found: T) => string,
): Promise<T | undefined> {
  try {
    const found = await find();
    rows.push({ name, ok: true, detail: describe(found) });
    return found;
  } catch (error) {
    rows.push({ name, ok: false, detail: toSendenseError(error).message });
    return undefined;
  }
}

function describeConfig({ dataDirectory, runtimeDirectory }: NodeConfig): string {
  return `data in ${dataDirectory}, sockets in ${runtimeDirectory}`;
}

function describeIdentity({ nodeName, hub, enrolledAt }: Identity): string {
  return `${nodeName} of the hub at ${hub.host}:${hub.port}, since ${enrolledAt.toISOString()}`;
}

/** The socket can be made, or the running node answers on it. */
async function checkSocket({ runtimeDirectory }: NodeConfig): Promise<NodeCheck> {
  const name = 'grpc_socket';
  const path = nodeSocketPath(runtimeDirectory);
  if (await isAnswered(path)) return { name, ok: true, detail: `${path}: a running node answers` };
  const folder = await nearestExisting(runtimeDirectory);
  try {
    checkSocketPath(path, 'SENDENSE_RUNTIME_DIR');
    await access(folder, constants.W_OK | constants.X_OK);
    return { name, ok: true, detail: `${path} can be made` };
  } catch (error) {
    const user = process.getuid?.() ?? 'this user';
    const fix = `create ${runtimeDirectory} for user ${user} (install -d -m 700 -o ${user} ${runtimeDirectory}), or set SENDENSE_RUNTIME_DIR`;
    return { name, ok: false, detail: `${toSendenseError(error).message}: ${fix}` };
  }
}

async function nearestExisting(path: string): Promise<string> {
  const found = await access(path).then(
    () => true,
    () => false,
  );
  return found || dirname(path) === path ? path : nearestExisting(dirname(path));
}

/** SSH tells no time, so the hub's clock cannot be compared; a clock that stands before the enrolment is wrong for sure. */
function checkClock({ enrolledAt }: Identity): NodeCheck {
  const name = 'clock';
  const now = new Date();
  if (now >= enrolledAt) return { name, ok: true, detail: `${now.toISOString()}, after the enrolment` };
  return {
    name,
    ok: false,
    detail: `${now.toISOString()} is before the enrolment (${enrolledAt.toISOString()}): set the clock, for instance with systemd-timesyncd or chrony`,
  };
}
