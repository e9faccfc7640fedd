import type { StoredError } from './stored-error.js';

/** Something that could not be released, for the reaper to try again. */
export interface CleanupRecord {
  readonly id: number;
  /** What has to be done: `remove_snapshot`, `remove_file`, `forget_job`, … */
  readonly what: string;
  readonly args: Readonly<Record<string, string | number | boolean>>;
  readonly backupId: string | undefined;
  readonly attempts: number;
  readonly nextTryAt: Date;
  readonly lastError: StoredError | undefined;
  readonly createdAt: Date;
}

export class Cleanups {
  /** The same `what` with the same `args` is recorded once. */
  async add(_o: {
    what: string;
    args: Readonly<Record<string, string | number | boolean>>;
    backupId?: string;
    error?: StoredError;
    nextTryAt?: Date;
  }): Promise<CleanupRecord> {
    throw new Error('not built yet');
  }
  /** Those whose time has come, the longest waiting first. */
  async due(_o?: { now?: Date; limit?: number }): Promise<CleanupRecord[]> {
    throw new Error('not built yet');
  }
  async list(): Promise<CleanupRecord[]> {
    throw new Error('not built yet');
  }
  /** Counts the attempt. @throws `not_found` */
  async failed(_id: number, _o: { error: StoredError; nextTryAt: Date }): Promise<CleanupRecord> {
    throw new Error('not built yet');
  }
  /** Done, and forgotten. Doing it again is no error. */
  async done(_id: number): Promise<void> {
    throw new Error('not built yet');
  }
}
