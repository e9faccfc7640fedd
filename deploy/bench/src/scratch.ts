import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { Stage } from '@sendense/stage';

const existing = new Set<Scratch>();

/** A new directory for data and programs, which goes with them. */
export class Scratch implements AsyncDisposable {
  private constructor(readonly path: string) {}

  /** @param parent is made where it does not exist */
  static make(parent: string): Scratch {
    mkdirSync(parent, { recursive: true });
    // Short, because sockets lie below it.
    const scratch = new Scratch(mkdtempSync(join(parent, 'sdb-')));
    existing.add(scratch);
    // A database server may run as somebody else.
    chmodSync(scratch.path, 0o755);
    return scratch;
  }

  /** Of all that there are, for a run that ends in the middle. */
  static async removeAll(): Promise<void> {
    for (const scratch of existing) await scratch[Symbol.asyncDispose]();
  }

  /** Also ends the programs in it that would outlive this one. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Stage.stop(this.path);
    // In a run that ends in the middle others may still write here, until they notice.
    rmSync(this.path, { recursive: true, force: true, maxRetries: 20 });
    existing.delete(this);
  }
}
