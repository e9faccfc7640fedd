import { mkdirSync, readFileSync, statfsSync } from 'node:fs';
import { SendenseError } from '@sendense/core';
import type { Workload } from './workloads.js';

const MIB = 1 << 20;
/** linux/magic.h */
const TMPFS_MAGIC = 0x01021994;
/** The programs and their records. */
const PROGRAMS_MIB = 512;

/** MiB that full backups take: the VMs' disks stay; of the images, one backup's or one copy's exist at a time. */
export function spaceForWorkloads(workloads: readonly Workload[]): number {
  const disks = workloads.reduce((sum, { disks: count, usedMib }) => sum + count * usedMib, 0);
  const images = Math.max(0, ...workloads.map(({ disks: count, usedMib }) => count * usedMib));
  return disks + images;
}

/** @param dataMib that are there at the same time, at most. @throws `out_of_space` */
export function requireSpace(directory: string, dataMib: number): void {
  mkdirSync(directory, { recursive: true });
  const neededMib = Math.ceil(dataMib * 1.02) + PROGRAMS_MIB;
  const freeMib = freeSpaceMib(directory);
  if (freeMib >= neededMib) return;
  throw new SendenseError(
    'out_of_space',
    `this run needs ${neededMib} MiB in ${directory}, and there are ${freeMib}: ` +
      'give a smaller --size, fewer data with --only, or another place with --dir',
    { context: { path: directory } },
  );
}

export function isMemory(directory: string): boolean {
  return statfsSync(directory).type === TMPFS_MAGIC;
}

function freeSpaceMib(directory: string): number {
  const { bavail, bsize } = statfsSync(directory);
  const free = Math.floor((bavail * bsize) / MIB);
  if (!isMemory(directory)) return free;
  // tmpfs offers half of the memory, whether anybody uses it or not.
  const available = Number(/^MemAvailable:\s+(\d+)/m.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1] ?? 0);
  return Math.min(free, Math.floor(available / 1024));
}
