import type { Database } from './database.js';

export interface RestoreMountRecord {
  readonly id: string;
  readonly restorePointId: string;
  readonly diskId: string;
  readonly mountPath: string;
  readonly createdAt: Date;
  readonly expiresAt: Date;
}

/** Open file-level restores: table `restore_mounts`. */
export class RestoreMounts {
  constructor(private readonly database: Database) {}

  async list(): Promise<RestoreMountRecord[]> {
    return this.database.run((client) =>
      client.restoreMount.findMany({ orderBy: [{ createdAt: 'asc' }, { id: 'asc' }] }),
    );
  }
}
