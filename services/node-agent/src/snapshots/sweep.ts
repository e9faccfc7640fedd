import { toSendenseError, type SendenseError } from '@sendense/core';
import type { Logger } from '@sendense/runtime';
import type { Snapshot, VSphereSession } from '@sendense/vsphere';
import { isStale, type SweepRule } from './ownership.js';

export interface SweptSnapshot {
  readonly vmMoref: string;
  readonly snapshot: Snapshot;
  /** Set when it could not be removed. */
  readonly error?: SendenseError;
}

/** Removes every snapshot of one VM that `wanted` chooses. One that cannot be removed does not stop the others. */
export async function removeSnapshots(
  session: VSphereSession,
  vmMoref: string,
  wanted: (snapshot: Snapshot) => boolean,
  log: Logger,
): Promise<SweptSnapshot[]> {
  const swept: SweptSnapshot[] = [];
  // Children first, so that no removal has to move the disks of another that goes too.
  for (const snapshot of (await session.snapshots(vmMoref)).filter(wanted).toReversed()) {
    try {
      await session.removeSnapshot(snapshot.moref);
      log.info({ vmMoref, snapshot: snapshot.moref, name: snapshot.name }, 'stale snapshot removed');
      swept.push({ vmMoref, snapshot });
    } catch (error) {
      swept.push({ vmMoref, snapshot, error: toSendenseError(error) });
    }
  }
  if (swept.some(({ error }) => error === undefined)) await session.consolidateIfNeeded(vmMoref);
  return swept;
}

/** Sweeps one VM, or every VM that has snapshots. */
export async function sweepStaleSnapshots(
  session: VSphereSession,
  vmMoref: string | undefined,
  rule: SweepRule,
  log: Logger,
): Promise<SweptSnapshot[]> {
  const morefs =
    vmMoref === undefined
      ? (await session.listVirtualMachines()).filter((vm) => vm.snapshotCount > 0).map(({ moref }) => moref)
      : [vmMoref];
  const swept: SweptSnapshot[] = [];
  for (const moref of morefs)
    swept.push(...(await removeSnapshots(session, moref, (snapshot) => isStale(snapshot, rule), log)));
  return swept;
}
