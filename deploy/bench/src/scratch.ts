import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
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
    unmountBelow(this.path);
    // In a run that ends in the middle others may still write here, until they notice.
    rmSync(this.path, { recursive: true, force: true, maxRetries: 20 });
    existing.delete(this);
  }
}

/** What a run that ends in the middle has mounted, the last one first: several may lie on each other. */
function unmountBelow(path: string): void {
  const mounts = readFileSync('/proc/self/mounts', 'utf8').split('\n');
  const places = mounts.map((line) => (line.split(' ')[1] ?? '').replaceAll(String.raw`\040`, ' '));
  const below = places.filter((at) => at.startsWith(`${path}/`));
  for (const at of below.toReversed()) execFileSync('umount', ['--lazy', at], { stdio: 'pipe' });
}
