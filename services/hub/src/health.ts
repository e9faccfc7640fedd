import { toSendenseError } from '@sendense/core';
import { findExecutable, withDeadline } from '@sendense/runtime';
import type { HubContext } from './context.js';

export interface Dependency {
  readonly status: 'ok' | 'degraded';
  /** What was found, or what is wrong and what to do. */
  readonly detail: string;
}

const CHECK_TIMEOUT_MS = 4_000;

/** Everything that the hub needs, looked at now: a hub that answers is alive, and `degraded` says what it lacks. */
export async function checkDependencies(hub: HubContext): Promise<Record<string, Dependency>> {
  const [database, repositories, tunnel, nodes, removals, qemu_nbd, qemu_img] = await Promise.all([
    checked(async () => {
      await hub.catalog.ping();
      return ok(`schema ${hub.catalog.schemaVersion}`);
    }),
    checked(() => checkRepositories(hub)),
    checked(async () => checkTunnel(hub)),
    checked(() => checkNodes(hub)),
    checked(() => checkRemovals(hub)),
    checked(() => checkTool(hub.config.qemuNbd, 'SENDENSE_QEMU_NBD')),
    checked(() => checkTool(hub.config.qemuImg, 'SENDENSE_QEMU_IMG')),
  ]);
  return { database, repositories, tunnel, nodes, removals, qemu_nbd, qemu_img };
}

async function checkRepositories({ repositories }: HubContext): Promise<Dependency> {
  const all = await repositories.list();
  const broken = all.flatMap(({ record, status }) =>
    status.available ? [] : [`${record.id}: ${status.problem.message}`],
  );
  if (broken.length > 0) return degraded(broken.join('; '));
  return ok(all.length === 0 ? 'none added yet' : `${all.length} available`);
}

function checkTunnel({ tunnel }: HubContext): Dependency {
  const { workers, workerRestarts } = tunnel.statistics();
  const { host, port } = tunnel.address;
  const restarts = workerRestarts > 0 ? `, ${workerRestarts} worker restarts` : '';
  const detail = `listens on ${host}:${port}, ${workers} workers${restarts}`;
  return workers > 0 ? ok(detail) : degraded(`${detail}: nodes cannot connect`);
}

async function checkNodes({ nodes }: HubContext): Promise<Dependency> {
  const enrolled = (await nodes.list()).filter(({ record }) => record.state === 'enrolled');
  const offline = enrolled.filter(({ online }) => !online).map(({ record }) => record.name);
  if (offline.length > 0)
    return degraded(`offline: ${offline.join(', ')}; run 'sendense-node preflight' there`);
  return ok(enrolled.length === 0 ? 'none enrolled yet' : `${enrolled.length} online`);
}

/** Removals that have begun and that no task works on: one failed on the way, and is tried again within the hour. */
async function checkRemovals({ catalog }: HubContext): Promise<Dependency> {
  const points = await catalog.restorePoints.removing();
  if (points.length === 0) return ok('none unfinished');
  const tasks = await catalog.tasks.unfinished();
  const stuck = points.filter(
    ({ contextId, repositoryId }) =>
      !tasks.some(
        ({ kind, args }) =>
          (kind === 'remove' || kind === 'prune') &&
          args['context_id'] === contextId &&
          args['repository_id'] === repositoryId,
      ),
  );
  if (stuck.length === 0) return ok(`${points.length} under way`);
  const ids = stuck.map(({ id }) => id).join(', ');
  return degraded(
    `not finished, and nothing works on it: ${ids}; see why with 'sendense task list --kind remove', finish it with 'sendense restore-point delete'`,
  );
}

async function checkTool(command: string, setting: string): Promise<Dependency> {
  const path = await findExecutable(command);
  return path === undefined
    ? degraded(`${command} is not there: apt-get install qemu-utils, or set ${setting}`)
    : ok(path);
}

async function checked(check: () => Promise<Dependency>): Promise<Dependency> {
  try {
    return await withDeadline('the check', CHECK_TIMEOUT_MS, check);
  } catch (error) {
    return degraded(toSendenseError(error).message);
  }
}

function ok(detail: string): Dependency {
  return { status: 'ok', detail };
}

function degraded(detail: string): Dependency {
  return { status: 'degraded', detail };
}
