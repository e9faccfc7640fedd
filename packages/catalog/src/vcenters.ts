import { ACTIVE_BACKUP_STATES, printable, SendenseError, slug } from '@sendense/core';
import { seal, unseal } from './credential-cipher.js';
import type { CredentialKeys } from './credential-keys.js';
import { isForeignKeyViolation, isUniqueViolation } from './database-errors.js';
import type { Database } from './database.js';
import type { Prisma } from './gen/sqlite/client.js';
import { nodeNotFound } from './nodes.js';
import { freeId } from './record-ids.js';
import { requireText } from './text-limits.js';

/** Table `vmware_credentials`. The password is not in it: see {@link Vcenters.connection}. */
export interface VcenterRecord {
  /** `vcenter-<slug of the name>` */
  readonly id: string;
  readonly name: string;
  readonly nodeName: string;
  /** `host` or `host:port` */
  readonly endpoint: string;
  readonly username: string;
  /** The pinned certificate, as the operator confirmed it. */
  readonly thumbprint: string;
  readonly createdAt: Date;
  readonly updatedAt: Date;
}

/** With the secret, for one call to the node. Never log it. */
export interface VcenterConnection {
  readonly vcenterId: string;
  readonly nodeName: string;
  readonly endpoint: string;
  readonly username: string;
  readonly password: string;
  readonly thumbprint: string;
}

export interface NewVcenter {
  readonly name: string;
  readonly nodeName: string;
  readonly endpoint: string;
  readonly username: string;
  readonly password: string;
  readonly thumbprint: string;
}

export type VcenterChange = Partial<Omit<NewVcenter, 'name'>>;

type Row = Prisma.VmwareCredentialGetPayload<object>;

export class Vcenters {
  constructor(
    private readonly database: Database,
    private readonly keys: CredentialKeys,
  ) {}

  /** @throws `already_exists` (name), `node_not_found`, `invalid_argument` */
  async create(o: NewVcenter): Promise<VcenterRecord> {
    const name = requireText('the name of a vCenter', o.name);
    const now = this.database.now();
    try {
      return await this.database.transaction(async (transaction) => {
        const id = await freeId(
          `vcenter-${slug(name)}`,
          async (id) => (await transaction.vmwareCredential.findUnique({ where: { id } })) !== null,
        );
        const data = {
          id,
          name,
          ...checkedFields(o),
          passwordSealed: seal(this.keys, id, o.password),
          createdAt: now,
          updatedAt: now,
        };
        return toRecord(await transaction.vmwareCredential.create({ data }));
      });
    } catch (error) {
      if (isForeignKeyViolation(error)) throw nodeNotFound(o.nodeName);
      if (!isUniqueViolation(error, 'name')) throw error;
      throw new SendenseError('already_exists', `there is already a vCenter named ${printable(name)}`, {
        cause: error,
        context: { name },
      });
    }
  }

  async list(): Promise<VcenterRecord[]> {
    const rows = await this.database.run((client) =>
      client.vmwareCredential.findMany({ orderBy: [{ createdAt: 'asc' }, { id: 'asc' }] }),
    );
    return rows.map(toRecord);
  }

  async find(id: string): Promise<VcenterRecord | undefined> {
    const row = await this.#row(id);
    return row ? toRecord(row) : undefined;
  }

  /** @throws `not_found` */
  async get(id: string): Promise<VcenterRecord> {
    const row = await this.#row(id);
    if (!row) throw vcenterNotFound(id);
    return toRecord(row);
  }

  /** @throws `not_found`, `node_not_found`, `invalid_argument` */
  async update(id: string, o: VcenterChange): Promise<VcenterRecord> {
    try {
      return await this.database.transaction(async (transaction) => {
        const row = await transaction.vmwareCredential.findUnique({ where: { id } });
        if (!row) throw vcenterNotFound(id);
        const data = {
          ...checkedFields({ ...row, ...o }),
          ...(o.password === undefined ? {} : { passwordSealed: seal(this.keys, id, o.password) }),
          updatedAt: this.database.now(),
        };
        return toRecord(await transaction.vmwareCredential.update({ where: { id }, data }));
      });
    } catch (error) {
      if (o.nodeName !== undefined && isForeignKeyViolation(error)) throw nodeNotFound(o.nodeName);
      throw error;
    }
  }

  /** Everything needed to log in. @throws `not_found`, `credentials_unreadable` naming the fix */
  async connection(id: string): Promise<VcenterConnection> {
    const row = await this.#row(id);
    if (!row) throw vcenterNotFound(id);
    return this.#connection(row);
  }

  /** The same, looked up from a VM's context. @throws `vm_not_protected`, `credentials_missing`, `credentials_unreadable` */
  async connectionOf(contextId: string): Promise<VcenterConnection> {
    const context = await this.database.run((client) =>
      client.vmContext.findUnique({ where: { contextId }, include: { vcenter: true } }),
    );
    if (!context) throw vmNotProtected(contextId);
    if (!context.vcenter) throw credentialsMissing(context);
    return this.#connection(context.vcenter);
  }

  /**
   * Forgets the credentials. Contexts that used them stay, without (their backups then fail with `credentials_missing`).
   * @throws `not_found`, `conflict` while a backup of one of its VMs is running
   */
  async remove(id: string): Promise<void> {
    await this.database.transaction(async (transaction) => {
      const row = await transaction.vmwareCredential.findUnique({
        where: { id },
      });
      if (!row) throw vcenterNotFound(id);
      const active = await transaction.backupJob.findMany({
        where: { state: { in: [...ACTIVE_BACKUP_STATES] } },
        select: { id: true, contextId: true },
      });
      const needing = await transaction.vmContext.findFirst({
        where: { vcenterId: id, contextId: { in: active.map(({ contextId }) => contextId) } },
        select: { contextId: true },
      });
      const running = active.find(({ contextId }) => contextId === needing?.contextId);
      if (running) {
        throw new SendenseError(
          'conflict',
          `vCenter ${printable(row.name)} is needed by the running backup ${running.id}: wait for it, or cancel it`,
          { context: { vcenter_id: id, backup_id: running.id } },
        );
      }
      await transaction.vmwareCredential.delete({ where: { id } });
    });
  }

  /**
   * Adds a new key and encrypts every password with it. The old keys stay in the file: older copies of the catalogue
   * need them. @returns how many passwords
   */
  async rotateKey(): Promise<number> {
    await this.keys.add();
    const rows = await this.database.run((client) => client.vmwareCredential.findMany());
    for (const { id, passwordSealed } of rows) {
      const password = await unseal(this.keys, id, passwordSealed);
      await this.database.run((client) =>
        // Unless it was changed meanwhile: then it has the new key already.
        client.vmwareCredential.updateMany({
          where: { id, passwordSealed },
          data: { passwordSealed: seal(this.keys, id, password) },
        }),
      );
    }
    return rows.length;
  }

  async #row(id: string): Promise<Row | null> {
    return this.database.run((client) => client.vmwareCredential.findUnique({ where: { id } }));
  }

  async #connection(row: Row): Promise<VcenterConnection> {
    const { id: vcenterId, nodeName, endpoint, username, thumbprint } = row;
    const password = await unseal(this.keys, vcenterId, row.passwordSealed);
    return { vcenterId, nodeName, endpoint, username, password, thumbprint };
  }
}

export function credentialsMissing(context: { contextId: string; name: string }): SendenseError {
  return new SendenseError(
    'credentials_missing',
    `${printable(context.name)} has no vCenter credentials any more: add its vCenter again, then protect the VM from there`,
    { context: { context_id: context.contextId } },
  );
}

export function vmNotProtected(contextId: string): SendenseError {
  return new SendenseError(
    'vm_not_protected',
    `there is no protected VM ${printable(contextId)}: list them with 'sendense vm list', or add it with 'sendense vm protect'`,
    { context: { context_id: contextId } },
  );
}

export function vcenterNotFound(id: string): SendenseError {
  return new SendenseError(
    'not_found',
    `there is no vCenter ${printable(id)}: list them with 'sendense vcenter list'`,
    { context: { vcenter_id: id } },
  );
}

function checkedFields(o: { endpoint: string; username: string; thumbprint: string; nodeName: string }) {
  return {
    endpoint: requireText('the endpoint of a vCenter', o.endpoint),
    username: requireText('the user name for a vCenter', o.username),
    thumbprint: requireText("the thumbprint of a vCenter's certificate", o.thumbprint),
    nodeName: o.nodeName,
  };
}

function toRecord(row: Row): VcenterRecord {
  const { id, name, nodeName, endpoint, username, thumbprint, createdAt, updatedAt } = row;
  return { id, name, nodeName, endpoint, username, thumbprint, createdAt, updatedAt };
}
