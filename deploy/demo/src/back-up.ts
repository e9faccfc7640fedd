import { delay } from '@sendense/runtime';
import type { Programs } from '@sendense/stage';
import type { Hub } from './show.js';
import { guestWrites, snapshotList } from './guest.js';
import { proveDisk, type BackupAnswer, type DiskProof } from './proof.js';

export interface BackupRequest {
  readonly vm: string;
  readonly type: 'full' | 'incremental';
  readonly repositoryId: string;
  /** Where the guest overwrites files of its disk 2000 while the backup runs. */
  readonly overwrites: readonly number[];
}

/** A backup that has ended, and what was proven of it. */
export interface ProvenBackup {
  readonly backup_id: string;
  readonly state: string;
  readonly seconds: number;
  readonly disks: readonly (DiskProof & { readonly backup_type: string; readonly reason: string })[];
  /** Made while it ran: the guest was stunned so often. */
  readonly snapshots_created: number;
  /** How often the guest wrote while it ran, 1 MiB each. */
  readonly writes: number;
}

/** Takes a backup while the guest goes on writing, and compares every disk with what the snapshot froze. */
export async function backUp(programs: Programs, hub: Hub, request: BackupRequest): Promise<ProvenBackup> {
  const { vm, type, repositoryId, overwrites } = request;
  const before = (await snapshotList(programs, vm)).history.created;
  const startedAt = Date.now();
  const command = ['backup', 'start', vm, '--repository', repositoryId, '--type', type];
  const started = await hub.cli<BackupAnswer>(...command);
  const follow = programs.show('sendense', ['backup', 'follow', started.backup_id], hub.cliEnvironment);
  const writes = await writeDuring(programs, vm, follow, overwrites);
  const exitCode = await follow;
  const seconds = (Date.now() - startedAt) / 1000;
  const backup = await hub.cli<BackupAnswer>('backup', 'show', started.backup_id);
  const disks: ProvenBackup['disks'][number][] = [];
  if (exitCode === 0) {
    for (const disk of backup.disk_results) {
      const proof = await proveDisk(programs, vm, `sendense-${backup.backup_id}`, disk);
      disks.push({ ...proof, backup_type: disk.backup_type, reason: disk.reason });
    }
  }
  const snapshots = await snapshotList(programs, vm);
  return {
    ...{ backup_id: backup.backup_id, state: backup.state, seconds, disks, writes },
    snapshots_created: snapshots.history.created - before,
  };
}

/** Whether both disks are what the snapshot froze, with sound file systems, of one snapshot. */
export function isProven({ disks, snapshots_created }: Omit<ProvenBackup, 'writes'>): boolean {
  const sound = disks.every((disk) => disk.identical && disk.file_system_clean);
  return disks.length === 2 && sound && snapshots_created === 1;
}

/** Once the snapshot exists the guest overwrites what is in its files: the backup must not see it. @returns how often */
async function writeDuring(
  programs: Programs,
  vm: string,
  backup: Promise<unknown>,
  overwrites: readonly number[],
): Promise<number> {
  let running = true;
  void backup.finally(() => (running = false));
  while (running && (await snapshotList(programs, vm)).snapshots.length === 0) await delay(20);
  let writes = 0;
  for (const offset of overwrites) {
    if (!running) break;
    await guestWrites(programs, vm, { diskKey: 2000, offset, seed: `during ${Date.now()}` });
    writes++;
  }
  return writes;
}
