import { toSendenseError, type Extent } from '@sendense/core';
import { allocatedExtents } from '@sendense/nbd';
import { queryAreas, VCENTER_IS_GONE, type ExtentsRequest } from './area-query.js';
import { changedSince, type FullInstead, type FullReason } from './changed-since.js';

export type ExtentSource = 'changed_areas' | 'allocated_areas' | 'block_status' | 'whole_disk';

export interface FoundExtents {
  readonly source: ExtentSource;
  /** Ascending, disjoint. */
  readonly extents: readonly Extent[];
  /** Set when an incremental was planned: these are the extents of a full all the same. */
  readonly fullInstead?: FullInstead;
}

/** What the tracking says of the disk contradicts what it said before: it is not asked again. */
const DISTRUST_TRACKING: readonly FullReason[] = ['disk_reverted', 'changed_areas_invalid'];

/**
 * What to read: for an incremental the areas that changed, for a full the areas in use, from the best source there is
 * (FACTS §3). An incremental that turns out to be impossible becomes a full, from the same snapshot, and a warning says why.
 *
 * @throws what {@link changedSince} throws
 */
export async function findExtents(request: ExtentsRequest, signal: AbortSignal): Promise<FoundExtents> {
  const { previousChangeId, distrustChangeTracking = false } = request.disk;
  if (previousChangeId === undefined) return extentsInUse(request, !distrustChangeTracking, signal);
  const changes = await changedSince(request, previousChangeId, signal);
  if ('extents' in changes) return { source: 'changed_areas', extents: changes.extents };
  const { full } = changes;
  warn(request, full.reason, `disk ${request.disk.key} is read in full: ${full.detail}`);
  const trusted = !distrustChangeTracking && !DISTRUST_TRACKING.includes(full.reason);
  return { ...(await extentsInUse(request, trusted, signal)), fullInstead: full };
}

/** @param trusted whether vCenter's record of changes may be asked */
async function extentsInUse(
  request: ExtentsRequest,
  trusted: boolean,
  signal: AbortSignal,
): Promise<FoundExtents> {
  const { disk, source } = request;
  const allocated = trusted ? await allocatedAreas(request, signal) : undefined;
  if (allocated) return { source: 'allocated_areas', extents: allocated };
  if (source.export.hasBlockStatus)
    return { source: 'block_status', extents: await allocatedExtents(source, { signal }) };
  return { source: 'whole_disk', extents: [{ offset: 0, length: disk.capacityBytes }] };
}

/**
 * vSphere's `*` answers in tens of milliseconds where block status may take minutes, but it is only right when tracking
 * was switched on with no snapshot present; with one there, nobody can tell, so it is not asked.
 */
async function allocatedAreas(
  request: ExtentsRequest,
  signal: AbortSignal,
): Promise<readonly Extent[] | undefined> {
  const { tracking, foreignSnapshots, found, disk } = request;
  const trustworthy = tracking.outcome === 'enabled_now' || (tracking.enabled && foreignSnapshots === 0);
  if (!trustworthy || found.changeId === undefined) return undefined;
  try {
    return await queryAreas(request, '*', signal);
  } catch (thrown) {
    const error = toSendenseError(thrown);
    if (VCENTER_IS_GONE.includes(error.code)) throw error;
    const message = `vCenter did not say which areas of disk ${disk.key} are in use, so NBD is asked: ${error.message}`;
    warn(request, error.code, message, error.context);
    return undefined;
  }
}

function warn(
  { ports, disk }: ExtentsRequest,
  code: string,
  message: string,
  more: Readonly<Record<string, string>> = {},
): void {
  const context = { ...more, disk_key: String(disk.key) };
  ports.emit({ $case: 'warning', value: { code, message, context } });
}
