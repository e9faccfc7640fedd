export type ApiRole = 'admin' | 'operator' | 'viewer';

export interface ApiTokenRecord {
  /** `tok-<random>`: not the secret. */
  readonly id: string;
  readonly name: string;
  readonly role: ApiRole;
  readonly createdAt: Date;
  readonly lastUsedAt: Date | undefined;
  readonly revokedAt: Date | undefined;
}

export class Tokens {
  /** @returns the token `sdt_…`, the only time that it is seen: the catalogue keeps its SHA-256. @throws `already_exists` */
  async create(_o: { name: string; role: ApiRole }): Promise<{ token: string; record: ApiTokenRecord }> {
    throw new Error('not built yet');
  }
  /** Whose token it is; undefined when it is unknown or revoked. Notes the use, at most once a minute. */
  async authenticate(_token: string): Promise<ApiTokenRecord | undefined> {
    throw new Error('not built yet');
  }
  async list(): Promise<ApiTokenRecord[]> {
    throw new Error('not built yet');
  }
  /** @throws `not_found` */
  async revoke(_id: string): Promise<ApiTokenRecord> {
    throw new Error('not built yet');
  }
  /** Whether any token can be used: until then the API stays on the loopback. */
  async anyUsable(): Promise<boolean> {
    throw new Error('not built yet');
  }
}
