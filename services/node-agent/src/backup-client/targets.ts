import { SendenseError } from '@sendense/core';
import type { NbdClient } from '@sendense/nbd';
import type { Logger, OwnedStack } from '@sendense/runtime';
import type { DeliveryRoute } from './delivery.js';
import type { DiskSpec, JobSpec } from './spec.js';

/**
 * One handshake with every target, before anything is changed in vCenter: one that is missing, read-only or of another size is
 * not worth a snapshot.
 *
 * @throws `disk_size_mismatch` · `nbd_refused` · `nbd_connection_lost` · `permission_denied` · `tunnel_lost`
 */
export async function requireTargets(
  { disks }: JobSpec,
  delivery: DeliveryRoute,
  log: Logger,
  signal: AbortSignal,
): Promise<void> {
  await Promise.all(
    disks.map(async (disk) => {
      await using client = await delivery.connect(disk.target, 0, log, signal);
      requireWritable(disk, client);
    }),
  );
}

/** The connections over which one disk is written; `owned` releases them. */
export async function openTargets(
  delivery: DeliveryRoute,
  disk: DiskSpec,
  owned: OwnedStack,
  log: Logger,
  signal: AbortSignal,
): Promise<NbdClient[]> {
  const opened = await Promise.allSettled(
    Array.from({ length: disk.target.connections }, async (_, number) => {
      const client = await delivery.connect(disk.target, number, log, signal);
      owned.use(`NBD connection ${number + 1}`, client);
      requireWritable(disk, client);
      return client;
    }),
  );
  return opened.map((result) => {
    if (result.status === 'rejected') throw result.reason;
    return result.value;
  });
}

function requireWritable(disk: DiskSpec, client: NbdClient): void {
  requireSize(disk, client);
  if (!client.export.readOnly) return;
  throw new SendenseError(
    'nbd_refused',
    `the NBD export '${client.exportName}' is read-only: serve it for writing`,
    {
      context: { disk_key: disk.key },
    },
  );
}

/** @throws `disk_size_mismatch` */
export function requireSize(disk: DiskSpec, client: NbdClient): void {
  if (client.export.sizeBytes === disk.capacityBytes) return;
  throw new SendenseError(
    'disk_size_mismatch',
    `disk ${disk.key} has ${disk.capacityBytes} bytes, but the NBD export '${client.exportName}' has ${client.export.sizeBytes}: nothing was copied`,
    { context: { disk_key: disk.key } },
  );
}
