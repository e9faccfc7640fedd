import type { ChangeTracking } from '@sendense/contracts';
import type { ErrorCode, Extent } from '@sendense/core';
import type { NbdClient } from '@sendense/nbd';
import type { SnapshotDisk, VSphereSession } from '@sendense/vsphere';
import type { JobPorts } from './job.js';
import type { DiskSpec, JobSpec } from './spec.js';

/** What is needed to find out where one disk of the snapshot has to be read. */
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

/** After these, asking somebody else instead would only hide that vCenter is gone. */
export const VCENTER_IS_GONE: readonly ErrorCode[] = [
  'cancelled',
  'vcenter_unreachable',
  'vcenter_login_failed',
  'vcenter_session_expired',
];

/** @param changeId of an earlier snapshot, or `*` for all areas in use */
export function queryAreas(
  { vcenter, spec, snapshotMoref, disk }: ExtentsRequest,
  changeId: string,
  signal: AbortSignal,
): Promise<Extent[]> {
  const { key: diskKey, capacityBytes } = disk;
  const vmMoref = spec.vm.moref;
  return vcenter.changedAreas({ vmMoref, snapshotMoref, diskKey, changeId, capacityBytes, signal });
}
