import { readFileSync, readdirSync, rmSync } from 'node:fs';
import { execa } from 'execa';
import { checkFileSystem } from './guest-disks.js';
import type { Constellation, Stage } from '@sendense/stage';

export interface BackupAnswer {
  readonly backup_id: string;
  readonly state: string;
  readonly disk_results: readonly {
    readonly disk_key: number;
    readonly qcow2_path: string;
    readonly capacity_bytes: number;
  }[];
}

export interface DiskProof {
  readonly disk_key: number;
  readonly capacity_bytes: number;
  readonly stored_bytes: number;
  readonly identical: boolean;
  readonly file_system_clean: boolean;
}

/** Compares a disk of the backup with the image that the lab froze at the snapshot, and checks the file system in it. */
export async function proveDisk(
  stage: Stage,
  vm: string,
  snapshot: string,
  disk: BackupAnswer['disk_results'][number],
): Promise<DiskProof> {
  const frozen = (
    await stage.run('sendense-lab', [
      '--dir',
      stage.path('lab'),
      'disk',
      'path',
      vm,
      '--disk',
      String(disk.disk_key),
      '--snapshot',
      snapshot,
    ])
  ).trim();
  const compared = await execa('qemu-img', ['compare', '-f', 'raw', '-F', 'qcow2', frozen, disk.qcow2_path], {
    reject: false,
  });
  const raw = stage.path('work', `disk-${disk.disk_key}.raw`);
  await execa('qemu-img', ['convert', '-f', 'qcow2', '-O', 'raw', disk.qcow2_path, raw]);
  const { clean } = await checkFileSystem(raw);
  rmSync(raw);
  const info = JSON.parse(
    (await execa('qemu-img', ['info', '--output=json', disk.qcow2_path])).stdout,
  ) as Record<string, number>;
  return {
    disk_key: disk.disk_key,
    capacity_bytes: disk.capacity_bytes,
    stored_bytes: info['actual-size'] ?? 0,
    identical: compared.exitCode === 0,
    file_system_clean: clean,
  };
}

/** What must be nothing after a backup: our processes that carry bytes, and leased ports. */
export async function countLeftovers(pair: Constellation): Promise<{ processes: number; leases: number }> {
  const answer = await fetch(`${pair.url}/api/v1/system`, {
    headers: { authorization: `Bearer ${pair.token}` },
  });
  const { leases } = (await answer.json()) as { leases: unknown[] };
  return { processes: transferProcesses().length, leases: leases.length };
}

function transferProcesses(): string[] {
  return readdirSync('/proc').filter((entry) => {
    if (!/^\d+$/.test(entry)) return false;
    try {
      return ['qemu-nbd', 'nbdkit'].includes(readFileSync(`/proc/${entry}/comm`, 'utf8').trim());
    } catch {
      return false;
    }
  });
}
