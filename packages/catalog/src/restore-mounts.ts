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
  async list(): Promise<RestoreMountRecord[]> {
    throw new Error('not built yet');
  }
}
