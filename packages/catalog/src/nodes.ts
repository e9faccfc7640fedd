import { printable, SendenseError } from '@sendense/core';
import { fromJson, oneOf, present } from './columns.js';
import { isUniqueViolation } from './database-errors.js';
import type { Database, Transaction } from './database.js';
import type { Prisma } from './gen/sqlite/client.js';
import { randomSecret, secretHash } from './secrets.js';

export interface NodeCheckRecord {
  readonly name: string;
  readonly ok: boolean;
  readonly detail: string;
}

/** Whether a node is connected now is not in the catalogue: the tunnel knows it. */
export type NodeStatus =
  /** Waits for its enrolment token to be used. */
  | { readonly state: 'pending' }
  | { readonly state: 'enrolled'; readonly publicKey: string; readonly enrolledAt: Date }
  | { readonly state: 'revoked'; readonly revokedAt: Date };

export type NodeRecord = NodeStatus & {
  /** `/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/` */
  readonly name: string;
  readonly createdAt: Date;
  readonly version: string | undefined;
  readonly commit: string | undefined;
  readonly lastSeenAt: Date | undefined;
  /** What GetNode answered last. */
  readonly checks: readonly NodeCheckRecord[];
};

export interface IssuedEnrolmentToken {
  /** The only time that it is seen: the catalogue keeps its hash. */
  readonly secret: string;
  readonly expiresAt: Date;
}

export type EnrolmentResult =
  | { readonly accepted: true; readonly nodeName: string }
  | {
      readonly accepted: false;
      /** `used`: or voided by a later token or a revocation. `key_in_use`: another node has this public key. */
      readonly reason: 'unknown' | 'expired' | 'used' | 'key_in_use';
      /** Whose token it was, when that is known. */
      readonly nodeName: string | undefined;
    };

const NODE_NAME = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

export class Nodes {
  constructor(private readonly database: Database) {}

  /** @throws `already_exists`, `invalid_argument` for a bad name */
  async create(name: string): Promise<NodeRecord> {
    if (!NODE_NAME.test(name)) {
      throw new SendenseError(
        'invalid_argument',
        `a node's name has 1 to 63 of a-z, 0-9 and -, and starts and ends with a letter or digit: ${printable(name).slice(0, 100)}`,
      );
    }
    const data = { name, state: 'pending', checks: '[]', createdAt: this.database.now() };
    try {
      return toRecord(await this.database.run((client) => client.node.create({ data })));
    } catch (error) {
      if (!isUniqueViolation(error, 'name')) throw error;
      throw new SendenseError(
        'already_exists',
        `there is already a node ${name}: give it a new token instead`,
        {
          cause: error,
          context: { node_name: name },
        },
      );
    }
  }

  async list(): Promise<NodeRecord[]> {
    const rows = await this.database.run((client) => client.node.findMany({ orderBy: { name: 'asc' } }));
    return rows.map(toRecord);
  }

  async find(name: string): Promise<NodeRecord | undefined> {
    const row = await this.database.run((client) => client.node.findUnique({ where: { name } }));
    return row ? toRecord(row) : undefined;
  }

  /** @throws `node_not_found` */
  async get(name: string): Promise<NodeRecord> {
    const found = await this.find(name);
    if (!found) throw nodeNotFound(name);
    return found;
  }

  /**
   * Makes a one-time token; earlier unused ones of this node are void. An enrolled node keeps its key until the new one is
   * used; a revoked node becomes pending. @throws `node_not_found`
   */
  async issueEnrolmentToken(name: string, o: { lifetimeMs: number }): Promise<IssuedEnrolmentToken> {
    const secret = randomSecret();
    const createdAt = this.database.now();
    const expiresAt = new Date(createdAt.getTime() + o.lifetimeMs);
    await this.database.transaction(async (transaction) => {
      const node = await transaction.node.findUnique({ where: { name } });
      if (!node) throw nodeNotFound(name);
      await voidTokens(transaction, name, createdAt);
      if (node.state === 'revoked')
        await transaction.node.update({ where: { name }, data: { state: 'pending', revokedAt: null } });
      const data = { secretHash: secretHash(secret), nodeName: name, createdAt, expiresAt };
      await transaction.enrolmentToken.create({ data });
    });
    return { secret, expiresAt };
  }

  /** Uses a token up and makes `publicKey` the node's key, both or neither. Of two at the same time one wins. */
  async enrol(o: { secret: string; publicKey: string }): Promise<EnrolmentResult> {
    const now = this.database.now();
    return this.database.transaction(async (transaction): Promise<EnrolmentResult> => {
      const token = await transaction.enrolmentToken.findUnique({
        where: { secretHash: secretHash(o.secret) },
      });
      if (!token) return { accepted: false, reason: 'unknown', nodeName: undefined };
      const { nodeName } = token;
      const refused = (reason: 'expired' | 'used' | 'key_in_use') => ({
        accepted: false as const,
        reason,
        nodeName,
      });
      if (token.usedAt) return refused('used');
      if (token.expiresAt <= now) return refused('expired');
      const holder = await transaction.node.findUnique({ where: { publicKey: o.publicKey } });
      if (holder && holder.name !== nodeName) return refused('key_in_use');
      // The condition makes one winner of two, whatever the database's isolation.
      const { count } = await transaction.enrolmentToken.updateMany({
        where: { secretHash: token.secretHash, usedAt: null },
        data: { usedAt: now },
      });
      if (count !== 1) return refused('used');
      await transaction.node.update({
        where: { name: nodeName },
        data: { state: 'enrolled', publicKey: o.publicKey, enrolledAt: now, revokedAt: null },
      });
      return { accepted: true, nodeName };
    });
  }

  /** Records what the node last said of itself. @throws `node_not_found` */
  async seen(
    name: string,
    o: { version?: string; commit?: string; checks?: readonly NodeCheckRecord[] } = {},
  ): Promise<void> {
    const { count } = await this.database.run((client) =>
      client.node.updateMany({
        where: { name },
        data: {
          lastSeenAt: this.database.now(),
          ...(o.version === undefined ? {} : { version: o.version }),
          ...(o.commit === undefined ? {} : { commit: o.commit }),
          ...(o.checks === undefined ? {} : { checks: JSON.stringify(o.checks) }),
        },
      }),
    );
    if (count === 0) throw nodeNotFound(name);
  }

  /** Its key and tokens are void from now on. @throws `node_not_found` */
  async revoke(name: string): Promise<NodeRecord> {
    const revokedAt = this.database.now();
    return this.database.transaction(async (transaction) => {
      if (!(await transaction.node.findUnique({ where: { name } }))) throw nodeNotFound(name);
      await voidTokens(transaction, name, revokedAt);
      const data = { state: 'revoked', publicKey: null, enrolledAt: null, revokedAt };
      return toRecord(await transaction.node.update({ where: { name }, data }));
    });
  }

  /** Forgets a node that no vCenter uses. @throws `node_not_found`, `conflict` */
  async remove(name: string): Promise<void> {
    await this.database.transaction(async (transaction) => {
      if (!(await transaction.node.findUnique({ where: { name } }))) throw nodeNotFound(name);
      const users = await transaction.vmwareCredential.findMany({ where: { nodeName: name } });
      if (users.length > 0) {
        const names = users.map((vcenter) => printable(vcenter.name)).join(', ');
        throw new SendenseError(
          'conflict',
          `node ${name} is used by the vCenters ${names}: remove them first, or revoke the node`,
          { context: { node_name: name } },
        );
      }
      await transaction.node.delete({ where: { name } });
    });
  }
}

export function nodeNotFound(name: string): SendenseError {
  return new SendenseError(
    'node_not_found',
    `there is no node ${printable(name)}: list them with 'sendense node list'`,
    { context: { node_name: name } },
  );
}

async function voidTokens(transaction: Transaction, nodeName: string, usedAt: Date): Promise<void> {
  await transaction.enrolmentToken.updateMany({ where: { nodeName, usedAt: null }, data: { usedAt } });
}

function toRecord(row: Prisma.NodeGetPayload<object>): NodeRecord {
  const base = {
    name: row.name,
    createdAt: row.createdAt,
    version: row.version ?? undefined,
    commit: row.commit ?? undefined,
    lastSeenAt: row.lastSeenAt ?? undefined,
    checks: fromJson(row.checks, 'the checks of a node') as NodeCheckRecord[],
  };
  const state = oneOf(['pending', 'enrolled', 'revoked'], row.state, 'state of a node');
  switch (state) {
    case 'pending':
      return { ...base, state };
    case 'enrolled':
      return {
        ...base,
        state,
        publicKey: present(row.publicKey, 'the public key of a node'),
        enrolledAt: present(row.enrolledAt, 'the time of enrolment'),
      };
    default:
      return { ...base, state, revokedAt: present(row.revokedAt, 'the time of revocation') };
  }
}
