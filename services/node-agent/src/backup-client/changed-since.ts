import { relateChangeIds, toSendenseError, type Extent, type PlanReason } from '@sendense/core';
import { queryAreas, type ExtentsRequest } from './area-query.js';

/** Why an incremental that was planned is impossible now. */
export type FullReason = Extract<
  PlanReason,
  'change_tracking_off' | 'change_id_foreign' | 'disk_reverted' | 'change_id_stale' | 'changed_areas_invalid'
>;

/** The disk has to be read in full. */
export interface FullInstead {
  readonly reason: FullReason;
  /** In words, with the changeIds or what vCenter said. */
  readonly detail: string;
}

export type Changes = { readonly extents: readonly Extent[] } | { readonly full: FullInstead };

/**
 * Where the disk changed since the previous restore point, or why nobody can tell. The changeIds are compared first:
 * vCenter would answer for a reverted disk as well, and leave out what the revert took away.
 *
 * @throws what keeps a full from being read, too: vCenter is gone, the run was cancelled, …
 */
export async function changedSince(
  request: ExtentsRequest,
  previousChangeId: string,
  signal: AbortSignal,
): Promise<Changes> {
  const full = compareChangeIds(request, previousChangeId);
  if (full) return { full };
  try {
    return { extents: await queryAreas(request, previousChangeId, signal) };
  } catch (thrown) {
    const { code, message } = toSendenseError(thrown);
    if (code === 'changed_areas_unavailable') return { full: { reason: 'change_id_stale', detail: message } };
    if (code === 'changed_areas_invalid') return { full: { reason: code, detail: message } };
    throw thrown;
  }
}

function compareChangeIds(
  { disk, found: { changeId } }: ExtentsRequest,
  previous: string,
): FullInstead | undefined {
  const which = `disk ${disk.key}`;
  if (changeId === undefined)
    return {
      reason: 'change_tracking_off',
      detail: `${which} has no changeId in the snapshot: changed block tracking is off for it, or did not run yet`,
    };
  const relation = relateChangeIds(previous, changeId);
  if (relation === 'foreign')
    return {
      reason: 'change_id_foreign',
      detail: `changed block tracking of ${which} was started anew: its changeId is ${changeId}, the previous restore point has ${previous}`,
    };
  // Every snapshot raises the number, so that ours must be above the previous one. After a revert numbers are given again
  // (VMware says so itself: reverting to a snapshot that was there before the last backup makes incrementals inconsistent).
  if (relation === 'reverted' || changeId === previous)
    return {
      reason: 'disk_reverted',
      detail: `the changeId of ${which}, ${changeId}, is not after ${previous}, that of the previous restore point: was the VM reverted to a snapshot?`,
    };
  return undefined;
}
