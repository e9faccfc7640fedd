import { rmSync, statSync } from 'node:fs';
import { SendenseError } from '@sendense/core';
import { takeBackup, type Backup } from './backup-request.js';
import type { ProtectedWorkload, Setting } from './setting.js';

export interface Timing {
  /** From the first byte asked for to the last one flushed; with several disks from the first to the last of them. */
  readonly copySeconds: number;
  /** Of a backup: with everything before and after, from the request to the sealed restore point. */
  readonly endToEndSeconds?: number;
}

const MIB = 1 << 20;

/** A full backup through the API; its images are removed. */
export async function backUp({ pair, repositoryId }: Setting, workload: ProtectedWorkload): Promise<Timing> {
  const vmName = workload.vm.name;
  const { backup, copySeconds, endToEndSeconds } = await takeBackup(pair, {
    ...{ vmName, repositoryId, type: 'full' },
  });
  removeImages(backup, workload);
  return { copySeconds, endToEndSeconds };
}

/** A path that is quick because it leaves something out would win every comparison. */
function removeImages({ disk_results: disks }: Backup, { name, dataMib }: ProtectedWorkload): void {
  for (const { qcow2_path: path } of disks) {
    if (!path) throw new SendenseError('internal', `the backup of ${name} has no image`);
    requireData(path, dataMib);
    rmSync(path);
  }
}

/** @throws `internal` when an image holds less than the data that was copied into it */
export function requireData(path: string, dataMib: number): void {
  const storedMib = (statSync(path).blocks * 512) / MIB;
  if (storedMib < dataMib)
    throw new SendenseError('internal', `${path} holds ${storedMib} MiB of ${dataMib}: it is no copy`);
}
