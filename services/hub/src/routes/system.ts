import { buildInfo } from '@sendense/runtime';
import { BACKUP_STATES } from '@sendense/core';
import { Type } from 'typebox';
import { answers, security } from '../api/openapi.js';
import type { Api } from '../api/server.js';
import type { HubContext } from '../context.js';
import { Exactly, Time } from '../schemas/fields.js';

const System = Type.Object(
  {
    version: Type.String(),
    commit: Type.String(),
    pid: Type.Integer(),
    started_at: Time('of the process'),
    ports: Type.Object({
      first: Type.Integer(),
      last: Type.Integer(),
      free: Type.Integer(),
      leased: Type.Array(
        Type.Object({ port: Type.Integer(), backup_id: Type.String(), node_name: Type.String() }),
      ),
      taken_by_others: Type.Array(
        Type.Object({ port: Type.Integer(), seen_at: Time('when it was last tried') }),
      ),
    }),
    processes: Type.Array(
      Type.Object({ pid: Type.Integer(), program: Type.String(), backup_id: Type.String() }),
      { description: 'that carry data now' },
    ),
    running: Type.Array(
      Type.Object({
        backup_id: Type.String(),
        vm_name: Type.String(),
        node_name: Type.String(),
        state: Type.Enum([...BACKUP_STATES]),
      }),
    ),
    queue: Type.Array(
      Type.Object({
        backup_id: Type.String(),
        position: Type.Integer(),
        waiting_for: Type.String(),
        since: Time('when it was queued'),
      }),
    ),
    tunnel: Type.Object({
      address: Type.String(),
      host_key_fingerprint: Type.String(),
      workers: Type.Integer(),
      connections: Type.Integer(),
      channels: Type.Integer(),
      connected_nodes: Type.Array(Type.String()),
    }),
    cleanups: Type.Array(
      Type.Object({
        what: Type.String(),
        backup_id: Type.Union([Type.String(), Type.Null()]),
        attempts: Type.Integer(),
        next_try_at: Time('when it is tried again'),
        error: Type.Union([Type.String(), Type.Null()]),
      }),
      { description: 'what could not be released yet' },
    ),
  },
  { title: 'System' },
);

export function systemRoutes(app: Api, hub: HubContext): void {
  app.get(
    '/api/v1/system',
    {
      config: { access: 'viewer' },
      schema: {
        tags: ['hub'],
        summary: 'What the hub is doing: leased ports, processes, queue, tunnel',
        security,
        querystring: Exactly({}),
        response: answers({ 200: System }),
      },
    },
    async () => ({
      version: buildInfo.version,
      commit: buildInfo.commit,
      pid: process.pid,
      started_at: hub.startedAt.toISOString(),
      ...runsView(hub),
      tunnel: tunnelView(hub),
      cleanups: (await hub.catalog.cleanups.list()).map((cleanup) => ({
        what: cleanup.what,
        backup_id: cleanup.backupId ?? null,
        attempts: cleanup.attempts,
        next_try_at: cleanup.nextTryAt.toISOString(),
        error: cleanup.lastError?.message ?? null,
      })),
    }),
  );
}

function runsView({ runs }: HubContext) {
  const { first, last, free, leased, taken } = runs.leases();
  const running = runs.running();
  return {
    ports: {
      first,
      last,
      free,
      leased: leased.map(({ port, jobId, nodeName }) => ({ port, backup_id: jobId, node_name: nodeName })),
      taken_by_others: taken.map(({ port, seenAt }) => ({ port, seen_at: seenAt.toISOString() })),
    },
    processes: running.flatMap(({ jobId, qemuNbdPids }) =>
      qemuNbdPids.map((pid) => ({ pid, program: 'qemu-nbd', backup_id: jobId })),
    ),
    running: running.map(({ jobId, vmName, nodeName, state }) => ({
      backup_id: jobId,
      vm_name: vmName,
      node_name: nodeName,
      state,
    })),
    queue: runs.queue().map(({ jobId, position, waitingFor, since }) => ({
      backup_id: jobId,
      position,
      waiting_for: waitingFor,
      since: since.toISOString(),
    })),
  };
}

function tunnelView({ tunnel }: HubContext) {
  const { workers, connections, channels, connectedNodes } = tunnel.statistics();
  return {
    address: `${tunnel.address.host}:${tunnel.address.port}`,
    host_key_fingerprint: tunnel.hostKeyFingerprint,
    workers,
    connections,
    channels,
    connected_nodes: [...connectedNodes],
  };
}
