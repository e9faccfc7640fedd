import { toSendenseError, type ErrorCode, type Extent } from '@sendense/core';
import { allocatedExtents, type NbdClient } from '@sendense/nbd';
import type { ChangeTracking } from '@sendense/contracts';
import type { SnapshotDisk, VSphereSession } from '@sendense/vsphere';
import type { JobPorts } from './job.js';
import type { DiskSpec, JobSpec } from './spec.js';

export type ExtentSource = 'changed_areas' | 'allocated_areas' | 'block_status' | 'whole_disk';

export interface ExtentsRequest {
  readonly spec: JobSpec;
  readonly ports: JobPorts;
  readonly vcenter: VSphereSession;
  readonly snapshotMoref: string;
  readonly disk: DiskSpec;
  readonly found: SnapshotDisk;
  readonly tracking: ChangeTracking;
  readonly foreignSnapshots: number;
  readonly source: NbdClient;
}

/** After these, asking NBD instead would only hide that vCenter is gone. */
const FATAL: readonly ErrorCode[] = [
  'cancelled',
  'vcenter_unreachable',
  'vcenter_login_failed',
  'vcenter_session_expired',
];

export interface FoundExtents {
  readonly source: ExtentSource;
  readonly extents: readonly Extent[];
}

/**
 * What to read: for an incremental the areas that changed, for a full the areas in use, from the best source there is
 * (FACTS §3).
 *
 * @throws `changed_areas_unavailable` · `changed_areas_invalid` for an incremental: the hub decides whether to take a full
 */
export async function findExtents(request: ExtentsRequest, signal: AbortSignal): Promise<FoundExtents> {
  const { disk, source } = request;
  if (disk.previousChangeId !== undefined)
    return { source: 'changed_areas', extents: await changedAreas(request, disk.previousChangeId, signal) };
  const allocated = await allocatedAreas(request, signal);
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
  const { tracking, foreignSnapshots, found, disk, ports } = request;
  const trustworthy = tracking.outcome === 'enabled_now' || (tracking.enabled && foreignSnapshots === 0);
  if (!trustworthy || found.changeId === undefined) return undefined;
  try {
    return await changedAreas(request, '*', signal);
  } catch (thrown) {
    const error = toSendenseError(thrown);
    if (FATAL.includes(error.code)) throw error;
    const message = `vCenter did not say which areas of disk ${disk.key} are in use, so NBD is asked: ${error.message}`;
    const context = { ...error.context, disk_key: String(disk.key) };
    ports.emit({ $case: 'warning', value: { code: error.code, message, context } });
    return undefined;
  }
}

function changedAreas(
  { vcenter, spec, snapshotMoref, disk }: ExtentsRequest,
  changeId: string,
  signal: AbortSignal,
): Promise<Extent[]> {
  const { key: diskKey, capacityBytes } = disk;
  const vmMoref = spec.vm.moref;
  return vcenter.changedAreas({ vmMoref, snapshotMoref, diskKey, changeId, capacityBytes, signal });
}
