import { checkRetentionPolicy, SendenseError, type RetentionPolicy } from '@sendense/core';
import { isForeignKeyViolation } from './database-errors.js';
import type { Database } from './database.js';
import type { Prisma } from './gen/sqlite/client.js';
import { repositoryNotFound } from './repositories.js';
import { vmNotProtected } from './vcenters.js';

/** Whose policy: a VM's, in whatever repository, or the default of a repository. */
export type RetentionScope =
  | { readonly contextId: string; readonly repositoryId?: never }
  | { readonly repositoryId: string; readonly contextId?: never };

/** Where the policy that applies comes from; `none`: nothing is ever removed. */
export type EffectiveRetention =
  | { readonly source: 'vm' | 'repository'; readonly policy: RetentionPolicy }
  | { readonly source: 'none'; readonly policy: undefined };

/** More than any schedule makes in a lifetime. */
const MAX_COUNT = 1_000_000;
const COUNTS = ['keepLast', 'daily', 'weekly', 'monthly', 'yearly'] as const;

/** Table `retention_policies`. A policy goes with the VM or the repository that it is for. */
export class Retention {
  constructor(private readonly database: Database) {}

  /** The scope's own policy, not what it inherits; undefined also for a scope that does not exist. */
  async get(scope: RetentionScope): Promise<RetentionPolicy | undefined> {
    const row = await this.database.run((client) => client.retentionPolicy.findUnique({ where: scope }));
    return row ? toPolicy(row) : undefined;
  }

  /**
   * Sets or replaces it.
   * @throws `vm_not_protected`, `repository_not_found`; `invalid_argument` for a policy that counts wrongly, knows no such
   * time zone, or keeps nothing at all
   */
  async set(scope: RetentionScope, policy: RetentionPolicy): Promise<RetentionPolicy> {
    checkPolicy(policy);
    const { keepLast, daily, weekly, monthly, yearly, timeZone } = policy;
    const counts = { keepLast, daily, weekly, monthly, yearly };
    const data = { ...counts, timeZone: timeZone ?? null, updatedAt: this.database.now() };
    try {
      const row = await this.database.transaction((transaction) =>
        transaction.retentionPolicy.upsert({ where: scope, create: { ...scope, ...data }, update: data }),
      );
      return toPolicy(row);
    } catch (error) {
      if (!isForeignKeyViolation(error)) throw error;
      throw scope.contextId === undefined
        ? repositoryNotFound(scope.repositoryId)
        : vmNotProtected(scope.contextId);
    }
  }

  /** Removes it; without one nothing happens. @returns whether there was one */
  async clear(scope: RetentionScope): Promise<boolean> {
    const { count } = await this.database.run((client) =>
      client.retentionPolicy.deleteMany({ where: scope }),
    );
    return count > 0;
  }

  /** What applies to a VM's points in a repository: the VM's own policy, else the repository's, else none. */
  async effective(contextId: string, repositoryId: string): Promise<EffectiveRetention> {
    const own = await this.get({ contextId });
    if (own) return { source: 'vm', policy: own };
    const common = await this.get({ repositoryId });
    return common ? { source: 'repository', policy: common } : { source: 'none', policy: undefined };
  }
}

/** @throws `invalid_argument` */
function checkPolicy(policy: RetentionPolicy): void {
  checkRetentionPolicy(policy);
  const tooMany = COUNTS.find((name) => policy[name] > MAX_COUNT);
  if (tooMany)
    throw new SendenseError('invalid_argument', `${tooMany} of a retention policy is more than ${MAX_COUNT}`);
  if (COUNTS.every((name) => policy[name] === 0)) {
    throw new SendenseError(
      'invalid_argument',
      'the retention policy keeps nothing: set at least one count above 0, or clear the policy to keep everything',
    );
  }
}

function toPolicy(row: Prisma.RetentionPolicyGetPayload<object>): RetentionPolicy {
  const { keepLast, daily, weekly, monthly, yearly, timeZone } = row;
  return { keepLast, daily, weekly, monthly, yearly, ...(timeZone === null ? {} : { timeZone }) };
}
