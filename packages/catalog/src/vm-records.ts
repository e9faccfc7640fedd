import { byDiskNumber, oneOf, toNumber } from './columns.js';
import type { Prisma } from './gen/sqlite/client.js';

// What discovery shows of a VM, what the tables `vm_replication_contexts` and `vm_disks` hold, and from their rows to it.

/** A disk as discovery shows it now. */
export interface DiscoveredDisk {
  /** vSphere's device key: 2000, 2001, 2016, … */
  readonly key: number;
  readonly label: string;
  readonly backingUuid: string;
  readonly backingFile: string;
  readonly datastore: string;
  readonly capacityBytes: number;
  readonly controllerKey: number;
  readonly unitNumber: number;
  /** `independent`, `physical_rdm`, `shared`: it cannot be in a snapshot. */
  readonly unsupportedReason?: string;
}

export interface DiscoveredVm {
  readonly moref: string;
  readonly instanceUuid: string;
  readonly name: string;
  readonly powerState: string;
  readonly hostMoref: string;
  readonly hostName: string;
  readonly guestFullName: string;
  readonly disks: readonly DiscoveredDisk[];
}

export interface VmDiskRecord {
  /** `<context id>-disk<n>` */
  readonly diskId: string;
  /**
   * The `<n>` of `disk-<n>` in paths. Given once to a backing uuid under a device key, in the order of first sight, and
   * never to another disk: one that is replaced under its old key is another disk.
   */
  readonly diskNumber: number;
  readonly diskKey: number;
  readonly label: string;
  readonly backingUuid: string;
  readonly backingFile: string;
  readonly datastore: string;
  readonly capacityBytes: number;
  readonly controllerKey: number;
  readonly unitNumber: number;
  readonly unsupportedReason: string | undefined;
}

const CHANGE_TRACKING_STATES = ['enabled', 'unavailable', 'unknown'] as const;

/** VMware's changed block tracking, on which incrementals rest. */
export interface ChangeTracking {
  readonly state: (typeof CHANGE_TRACKING_STATES)[number];
  /** Why, in words; may be empty. */
  readonly detail: string;
}

/** A protected VM: table `vm_replication_contexts`. */
export interface VmRecord {
  /** `ctx-<slug of the name>-<YYYYMMDD-HHMMSS>` */
  readonly contextId: string;
  /** undefined when its credentials were removed. */
  readonly vcenterId: string | undefined;
  readonly nodeName: string | undefined;
  readonly moref: string;
  readonly instanceUuid: string;
  /** As vSphere shows it: any characters. */
  readonly name: string;
  readonly powerState: string;
  readonly hostMoref: string;
  readonly hostName: string;
  readonly guestFullName: string;
  /** As it was last found or made. */
  readonly changeTracking: ChangeTracking;
  readonly createdAt: Date;
  readonly updatedAt: Date;
  /** The disks that it has now, by disk number. */
  readonly disks: readonly VmDiskRecord[];
}

export const withDisks = {
  vcenter: { select: { nodeName: true } },
  disks: true,
} satisfies Prisma.VmContextInclude;

export type VmRow = Prisma.VmContextGetPayload<{ include: typeof withDisks }>;

export function toVmRecord(row: VmRow): VmRecord {
  const { vcenter, vcenterId, disks, changeTrackingState, changeTrackingDetail, ...shown } = row;
  return {
    ...shown,
    changeTracking: {
      state: oneOf(CHANGE_TRACKING_STATES, changeTrackingState, 'state of changed block tracking'),
      detail: changeTrackingDetail ?? '',
    },
    vcenterId: vcenterId ?? undefined,
    nodeName: vcenter?.nodeName,
    disks: byDiskNumber(disks.filter((disk) => disk.removedAt === null)).map(toDiskRecord),
  };
}

function toDiskRecord(row: VmRow['disks'][number]): VmDiskRecord {
  return {
    diskId: row.diskId,
    diskNumber: row.diskNumber,
    diskKey: row.diskKey,
    label: row.label,
    backingUuid: row.backingUuid,
    backingFile: row.backingFile,
    datastore: row.datastore,
    capacityBytes: toNumber(row.capacityBytes),
    controllerKey: row.controllerKey,
    unitNumber: row.unitNumber,
    unsupportedReason: row.unsupportedReason ?? undefined,
  };
}
