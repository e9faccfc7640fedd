import { randomBytes } from 'node:crypto';
import { printable, SendenseError } from '@sendense/core';
import { oneOf } from './columns.js';
import type { Database } from './database.js';
import type { Prisma } from './gen/sqlite/client.js';
import { randomSecret, secretHash } from './secrets.js';
import { requireText } from './text-limits.js';

const API_ROLES = ['admin', 'operator', 'viewer'] as const;
export type ApiRole = (typeof API_ROLES)[number];

export interface ApiTokenRecord {
  /** `tok-<random>`: not the secret. */
  readonly id: string;
  readonly name: string;
  readonly role: ApiRole;
  readonly createdAt: Date;
  readonly lastUsedAt: Date | undefined;
  readonly revokedAt: Date | undefined;
}

const TOKEN = /^sdt_[A-Za-z0-9_-]{43}$/;
/** How exact lastUsedAt is: a busy client must not write with every request. */
const USE_NOTED_EVERY_MS = 60_000;

export class Tokens {
  constructor(private readonly database: Database) {}

  /**
   * @returns the token `sdt_…`, the only time that it is seen: the catalogue keeps its SHA-256
   * @throws `already_exists` when a token that is not revoked has this name
   */
  async create(o: { name: string; role: ApiRole }): Promise<{ token: string; record: ApiTokenRecord }> {
    const name = requireText('the name of a token', o.name);
    const token = randomSecret('sdt_');
    const record = await this.database.transaction(async (transaction) => {
      if (await transaction.apiToken.findFirst({ where: { name, revokedAt: null } })) {
        throw new SendenseError(
          'already_exists',
          `there is already a token named ${printable(name)}: revoke it first, or choose another name`,
          { context: { name } },
        );
      }
      const data = {
        id: `tok-${randomBytes(6).toString('hex')}`,
        name,
        role: oneOf(API_ROLES, o.role, 'role'),
        tokenHash: secretHash(token),
        createdAt: this.database.now(),
      };
      return toRecord(await transaction.apiToken.create({ data }));
    });
    return { token, record };
  }

  /** Whose token it is; undefined when it is unknown or revoked. Notes the use, at most once a minute. */
  async authenticate(token: string): Promise<ApiTokenRecord | undefined> {
    if (!TOKEN.test(token)) return undefined;
    const row = await this.database.run((client) =>
      client.apiToken.findUnique({ where: { tokenHash: secretHash(token) } }),
    );
    if (!row || row.revokedAt) return undefined;
    const now = this.database.now();
    if (row.lastUsedAt && now.getTime() - row.lastUsedAt.getTime() < USE_NOTED_EVERY_MS) return toRecord(row);
    await this.database.run((client) =>
      client.apiToken.updateMany({ where: { id: row.id }, data: { lastUsedAt: now } }),
    );
    return toRecord({ ...row, lastUsedAt: now });
  }

  /** In the order in which they were made. */
  async list(): Promise<ApiTokenRecord[]> {
    const rows = await this.database.run((client) =>
      client.apiToken.findMany({ orderBy: [{ createdAt: 'asc' }, { id: 'asc' }] }),
    );
    return rows.map(toRecord);
  }

  /** Doing it again keeps the first time. @throws `not_found` */
  async revoke(id: string): Promise<ApiTokenRecord> {
    return this.database.transaction(async (transaction) => {
      await transaction.apiToken.updateMany({
        where: { id, revokedAt: null },
        data: { revokedAt: this.database.now() },
      });
      const row = await transaction.apiToken.findUnique({ where: { id } });
      if (!row)
        throw new SendenseError('not_found', `there is no token ${printable(id)}`, {
          context: { token_id: id },
        });
      return toRecord(row);
    });
  }

  /** Whether any token can be used: until then the API stays on the loopback. */
  async anyUsable(): Promise<boolean> {
    return (await this.database.run((client) => client.apiToken.count({ where: { revokedAt: null } }))) > 0;
  }
}

function toRecord(row: Prisma.ApiTokenGetPayload<object>): ApiTokenRecord {
  return {
    id: row.id,
    name: row.name,
    role: oneOf(API_ROLES, row.role, 'role'),
    createdAt: row.createdAt,
    lastUsedAt: row.lastUsedAt ?? undefined,
    revokedAt: row.revokedAt ?? undefined,
  };
}
