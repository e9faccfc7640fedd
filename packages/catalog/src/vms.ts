import { printable, SendenseError, slug, timestampName } from '@sendense/core';
import { toBigInt } from './columns.js';
import { isUniqueViolation } from './database-errors.js';
import type { Database, Transaction } from './database.js';
import type { Prisma } from './gen/sqlite/client.js';
import {
  beyond,
  pageLimit,
  pagePosition,
  toPage,
  type Page,
  type PageRequest,
  type Position,
} from './paging.js';
import { freeId } from './record-ids.js';
import { requireText, storableText } from './text-limits.js';
import { vcenterNotFound, vmNotProtected } from './vcenters.js';
import { withChildren } from './with-children.js';
import {
  toVmRecord,
  withDisks,
  type ChangeTracking,
  type DiscoveredDisk,
  type DiscoveredVm,
  type VmRecord,
  type VmRow,
} from './vm-records.js';

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

  /** Takes down what was found of its changed block tracking, or made of it. @throws `vm_not_protected` */
  async recordChangeTracking(contextId: string, { state, detail }: ChangeTracking): Promise<void> {
    const { count } = await this.database.run((client) =>
      client.vmContext.updateMany({
        where: { contextId },
        data: { changeTrackingState: state, changeTrackingDetail: storableText(detail, Infinity) },
      }),
    );
    if (count === 0) throw vmNotProtected(contextId);
  }

  /** In the order in which they were protected. */
  async list(o: PageRequest & { name?: string; vcenterId?: string } = {}): Promise<Page<VmRecord>> {
    const limit = pageLimit(o);
    const after = pagePosition(o);
    const rows = await this.database.run((client) =>
      withVmDisks(client, {
        where: {
          ...(o.name === undefined ? {} : { name: o.name }),
          ...(o.vcenterId === undefined ? {} : { vcenterId: o.vcenterId }),
          ...beyond(after ?? this.#beginning(), 'newer', 'createdAt', 'contextId'),
        },
        orderBy: [{ createdAt: 'asc' }, { contextId: 'asc' }],
        take: limit + 1,
      }),
    );
    return toPage(rows, limit, (row) => ({ at: row.createdAt, id: row.contextId }), toVmRecord);
  }

  /** MariaDB would rather read and sort a table of this size as a whole than a page of it in order, unless a range begins it. */
  #beginning(): Position | undefined {
    return this.database.pagesByRange ? { at: new Date(0), id: '' } : undefined;
  }

  async find(contextId: string): Promise<VmRecord | undefined> {
    const row = await this.database.run((client) =>
      client.vmContext.findUnique({ where: { contextId }, include: withDisks }),
    );
    return row ? toVmRecord(row) : undefined;
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
    return toVmRecord(row);
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
    return toVmRecord(await transaction.vmContext.update({ where: { contextId }, data, include: withDisks }));
  }
}

/** A list of VMs, as `withDisks` includes it. */
async function withVmDisks(client: Transaction, query: Prisma.VmContextFindManyArgs): Promise<VmRow[]> {
  const contexts = await client.vmContext.findMany(query);
  const nodes = new Map(
    (await client.vmwareCredential.findMany({ select: { id: true, nodeName: true } })).map(
      ({ id, nodeName }) => [id, { nodeName }],
    ),
  );
  return withChildren(
    'disks',
    contexts.map((row) => ({ ...row, vcenter: nodes.get(row.vcenterId ?? '') ?? null })),
    ({ contextId }) => contextId,
    (ids) => client.vmDisk.findMany({ where: { contextId: { in: ids } } }),
    ({ contextId }) => contextId,
  );
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
