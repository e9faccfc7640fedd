import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';

/** The files below a folder, each with the bytes that it takes on the disk. */
export function filesOnDisk(folder: string): Map<string, number> {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) =>
    entry.isFile(),
  );
  return new Map(
    files.map(({ parentPath, name }) => {
      const path = join(parentPath, name);
      return [path, statSync(path).blocks * 512];
    }),
  );
}

/** Bytes on disk of those files that were not there before. */
export function newBytes(before: ReadonlyMap<string, number>, after: ReadonlyMap<string, number>): number {
  return [...after].reduce((sum, [path, bytes]) => (before.has(path) ? sum : sum + bytes), 0);
}
