export type RepositoryType = 'local';

export interface RepositoryRecord {
  /** `repo-local-<unix seconds>` */
  readonly id: string;
  readonly name: string;
  readonly type: RepositoryType;
  /** Absolute. */
  readonly path: string;
  readonly createdAt: Date;
  /** Restore points that lie in it. */
  readonly backupCount: number;
}

export class Repositories {
  /** @throws `already_exists` when the name or the path is taken */
  async create(_o: { name: string; type: RepositoryType; path: string }): Promise<RepositoryRecord> {
    throw new Error('not built yet');
  }
  /** In the order in which they were made. */
  async list(): Promise<RepositoryRecord[]> {
    throw new Error('not built yet');
  }
  async find(_id: string): Promise<RepositoryRecord | undefined> {
    throw new Error('not built yet');
  }
  /** @throws `repository_not_found` */
  async get(_id: string): Promise<RepositoryRecord> {
    throw new Error('not built yet');
  }
  /** Forgets it; its files stay. @throws `repository_not_found`, `repository_in_use` while restore points or running backups need it */
  async remove(_id: string): Promise<void> {
    throw new Error('not built yet');
  }
}
