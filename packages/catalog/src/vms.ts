import type { Page, PageRequest } from './paging.js';

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
   * Given once per (device key, backing uuid) of a VM, in the order of first sight, never reused: the `<n>` of
   * `disk-<n>` in paths. A disk that is replaced under its old key is another disk.
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
  readonly createdAt: Date;
  readonly updatedAt: Date;
  /** The disks that it has now, by disk number. */
  readonly disks: readonly VmDiskRecord[];
}

export class Vms {
  /**
   * Makes the VM's context. A context of the same VM whose credentials were removed is taken up again.
   * @throws `already_exists` with `context_id` when it is protected already; `not_found` for the vCenter
   */
  async protect(_vcenterId: string, _vm: DiscoveredVm): Promise<VmRecord> {
    throw new Error('not built yet');
  }
  /** Takes over what discovery shows now: name, host, disks (new ones get numbers, missing ones leave `disks`). @throws `vm_not_protected` */
  async refresh(_contextId: string, _vm: DiscoveredVm): Promise<VmRecord> {
    throw new Error('not built yet');
  }
  async list(_o?: PageRequest & { name?: string; vcenterId?: string }): Promise<Page<VmRecord>> {
    throw new Error('not built yet');
  }
  async find(_contextId: string): Promise<VmRecord | undefined> {
    throw new Error('not built yet');
  }
  /** @throws `vm_not_protected` */
  async get(_contextId: string): Promise<VmRecord> {
    throw new Error('not built yet');
  }
  /** The one VM of this exact name. @throws `vm_not_protected`; `conflict` naming the context ids when there are several */
  async getByName(_name: string): Promise<VmRecord> {
    throw new Error('not built yet');
  }
  /** @throws `vm_not_protected`, `conflict` while it has restore points or a running backup */
  async remove(_contextId: string): Promise<void> {
    throw new Error('not built yet');
  }
}
