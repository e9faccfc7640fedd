import { printable, SendenseError, slug, timestampName } from '@sendense/core';
import { toBigInt, toNumber } from './columns.js';
import { isUniqueViolation } from './database-errors.js';
import type { Database, Transaction } from './database.js';
import type { Prisma } from './gen/sqlite/client.js';
import { pageLimit, pagePosition, toPage, type Page, type PageRequest } from './paging.js';
import { freeId } from './record-ids.js';
import { requireText, storableText } from './text-limits.js';
import { vcenterNotFound, vmNotProtected } from './vcenters.js';

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

const withDisks = {
  vcenter: { select: { nodeName: true } },
  disks: { orderBy: { diskNumber: 'asc' } },
} satisfies Prisma.VmContextInclude;

type Row = Prisma.VmContextGetPayload<{ include: typeof withDisks }>;

export class Vms {
  constructor(private readonly database: Database) {}

  /**
   * Makes the VM's context. A context of the same VM whose credentials were removed is taken up again.
   * @throws `already_exists` with `context_id` when it is protected already; `not_found` for the vCenter; `invalid_argument`
   */
  async protect(vcenterId: string, vm: DiscoveredVm): Promise<VmRecord> {
    const instanceUuid = requireText('the instance uuid of a VM', vm.instanceUuid);
    try {
      return await this.database.transaction(async (transaction) => {
        if (!(await transaction.vmwareCredential.findUnique({ where: { id: vcenterId } })))
          throw vcenterNotFound(vcenterId);
        const present = await transaction.vmContext.findFirst({ where: { vcenterId, instanceUuid } });
        if (present) throw alreadyProtected(vm, present.contextId);
        const orphan = await transaction.vmContext.findFirst({ where: { vcenterId: null, instanceUuid } });
        const contextId = orphan?.contextId ?? (await this.#create(transaction, vm, instanceUuid));
        await transaction.vmContext.update({ where: { contextId }, data: { vcenterId } });
        return this.#takeOver(transaction, contextId, vm);
      });
    } catch (error) {
      if (isUniqueViolation(error, 'instance_uuid')) throw alreadyProtected(vm, undefined, error);
      throw error;
    }
  }

  /** Takes over what discovery shows now: name, host, disks (new ones get numbers, missing ones leave `disks`). @throws `vm_not_protected` */
  async refresh(contextId: string, vm: DiscoveredVm): Promise<VmRecord> {
    return this.database.transaction(async (transaction) => {
      if (!(await transaction.vmContext.findUnique({ where: { contextId } })))
        throw vmNotProtected(contextId);
      return this.#takeOver(transaction, contextId, vm);
    });
  }

  /** In the order in which they were protected. */
  async list(o: PageRequest & { name?: string; vcenterId?: string } = {}): Promise<Page<VmRecord>> {
    const limit = pageLimit(o);
    const after = pagePosition(o);
    const rows = await this.database.run((client) =>
      client.vmContext.findMany({
        where: {
          ...(o.name === undefined ? {} : { name: o.name }),
          ...(o.vcenterId === undefined ? {} : { vcenterId: o.vcenterId }),
          ...(after && {
            OR: [{ createdAt: { gt: after.at } }, { createdAt: after.at, contextId: { gt: after.id } }],
          }),
        },
        include: withDisks,
        orderBy: [{ createdAt: 'asc' }, { contextId: 'asc' }],
        take: limit + 1,
      }),
    );
    return toPage(rows, limit, (row) => ({ at: row.createdAt, id: row.contextId }), toRecord);
  }

  async find(contextId: string): Promise<VmRecord | undefined> {
    const row = await this.database.run((client) =>
      client.vmContext.findUnique({ where: { contextId }, include: withDisks }),
    );
    return row ? toRecord(row) : undefined;
  }

  /** @throws `vm_not_protected` */
  async get(contextId: string): Promise<VmRecord> {
    const found = await this.find(contextId);
    if (!found) throw vmNotProtected(contextId);
    return found;
  }

  /** The one VM of this exact name. @throws `vm_not_protected`; `conflict` naming the context ids when there are several */
  async getByName(name: string): Promise<VmRecord> {
    const rows = await this.database.run((client) =>
      client.vmContext.findMany({
        where: { name },
        include: withDisks,
        orderBy: { contextId: 'asc' },
        take: 10,
      }),
    );
    const [row] = rows;
    if (!row) throw vmNotProtected(name);
    if (rows.length > 1) {
      const ids = rows.map((row) => row.contextId).join(', ');
      throw new SendenseError(
        'conflict',
        `several protected VMs are named ${printable(name)}: name one by its context id (${ids})`,
        {
          context: { vm_name: name, context_ids: ids },
        },
      );
    }
    return toRecord(row);
  }

  /** Its history of backups stays. @throws `vm_not_protected`, `conflict` while it has restore points or a running backup */
  async remove(contextId: string): Promise<void> {
    await this.database.transaction(async (transaction) => {
      const row = await transaction.vmContext.findUnique({
        where: { contextId },
        include: { _count: { select: { restorePoints: true } } },
      });
      if (!row) throw vmNotProtected(contextId);
      const running = await transaction.backupJob.findUnique({ where: { activeContextId: contextId } });
      const points = row._count.restorePoints;
      if (running || points > 0) {
        const why = running ? `its backup ${running.id} is running` : `it has ${points} restore points`;
        throw new SendenseError(
          'conflict',
          `${printable(row.name)} cannot be removed from protection: ${why}`,
          {
            context: { context_id: contextId, restore_points: points },
          },
        );
      }
      await transaction.vmContext.delete({ where: { contextId } });
    });
  }

  async #create(transaction: Transaction, vm: DiscoveredVm, instanceUuid: string): Promise<string> {
    const createdAt = this.database.now();
    const contextId = await freeId(
      `ctx-${slug(vm.name)}-${timestampName(createdAt)}`,
      async (contextId) => (await transaction.vmContext.findUnique({ where: { contextId } })) !== null,
    );
    const data = { ...shownFields(vm), contextId, instanceUuid, createdAt, updatedAt: createdAt };
    await transaction.vmContext.create({ data });
    return contextId;
  }

  async #takeOver(transaction: Transaction, contextId: string, vm: DiscoveredVm): Promise<VmRecord> {
    const now = this.database.now();
    const known = await transaction.vmDisk.findMany({ where: { contextId } });
    let nextNumber = Math.max(-1, ...known.map((row) => row.diskNumber)) + 1;
    const numbers: number[] = [];
    for (const disk of vm.disks) {
      const seen = known.find((row) => row.diskKey === disk.key && row.backingUuid === disk.backingUuid);
      const diskNumber = seen?.diskNumber ?? nextNumber++;
      numbers.push(diskNumber);
      const diskId = `${contextId}-disk${diskNumber}`;
      const data = { ...diskFields(disk), removedAt: null };
      await transaction.vmDisk.upsert({
        where: { diskId },
        create: { ...data, diskId, contextId, diskNumber },
        update: data,
      });
    }
    await transaction.vmDisk.updateMany({
      where: { contextId, removedAt: null, diskNumber: { notIn: numbers } },
      data: { removedAt: now },
    });
    const data = { ...shownFields(vm), updatedAt: now };
    return toRecord(await transaction.vmContext.update({ where: { contextId }, data, include: withDisks }));
  }
}

function alreadyProtected(vm: DiscoveredVm, contextId: string | undefined, cause?: unknown): SendenseError {
  return new SendenseError('already_exists', `${printable(vm.name)} (${vm.moref}) is protected already`, {
    cause,
    context: { vm_name: vm.name, ...(contextId === undefined ? {} : { context_id: contextId }) },
  });
}

function shownFields(vm: DiscoveredVm) {
  return {
    moref: vm.moref,
    name: storableText(vm.name),
    powerState: vm.powerState,
    hostMoref: vm.hostMoref,
    hostName: storableText(vm.hostName),
    guestFullName: storableText(vm.guestFullName),
  };
}

function diskFields(disk: DiscoveredDisk) {
  return {
    diskKey: disk.key,
    label: storableText(disk.label),
    backingUuid: disk.backingUuid,
    backingFile: storableText(disk.backingFile, Infinity),
    datastore: storableText(disk.datastore),
    capacityBytes: toBigInt(disk.capacityBytes, `the capacity of disk ${disk.key}`),
    controllerKey: disk.controllerKey,
    unitNumber: disk.unitNumber,
    unsupportedReason: disk.unsupportedReason ?? null,
  };
}

function toRecord({ vcenter, vcenterId, disks, ...row }: Row): VmRecord {
  return {
    ...row,
    vcenterId: vcenterId ?? undefined,
    nodeName: vcenter?.nodeName,
    disks: disks.filter((disk) => disk.removedAt === null).map(toDiskRecord),
  };
}

function toDiskRecord(row: Row['disks'][number]): VmDiskRecord {
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
