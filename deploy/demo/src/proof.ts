import { readFileSync, rmSync } from 'node:fs';
import { execa } from 'execa';
import { delay, processesOwnedBy } from '@sendense/runtime';
import { checkFileSystem } from './guest-disks.js';
import type { Constellation, Programs } from '@sendense/stage';

const LOOKS = 100;
const LOOK_EVERY_MS = 100;

export interface BackupAnswer {
  readonly backup_id: string;
  readonly state: string;
  readonly disk_results: readonly {
    readonly disk_key: number;
    readonly qcow2_path: string;
    readonly capacity_bytes: number;
    readonly backup_type: string;
    readonly reason: string;
  }[];
}

export interface DiskProof {
  readonly disk_key: number;
  readonly qcow2_path: string;
  readonly capacity_bytes: number;
  readonly stored_bytes: number;
  readonly identical: boolean;
  readonly file_system_clean: boolean;
}

/** Compares a disk of the backup with the image that the lab froze at the snapshot, and checks the file system in it. */
export async function proveDisk(
  programs: Programs,
  vm: string,
  snapshot: string,
  disk: BackupAnswer['disk_results'][number],
): Promise<DiskProof> {
  const frozen = (
    await programs.run(
      'sendense-lab',
      ['disk', 'path', vm, '--disk', String(disk.disk_key), '--snapshot', snapshot],
      { LAB_DIR: programs.path('lab') },
    )
  ).trim();
  const compared = await execa('qemu-img', ['compare', '-f', 'raw', '-F', 'qcow2', frozen, disk.qcow2_path], {
    reject: false,
  });
  const raw = programs.path('work', `disk-${disk.disk_key}.raw`);
  await execa('qemu-img', ['convert', '-f', 'qcow2', '-O', 'raw', disk.qcow2_path, raw]);
  const { clean } = await checkFileSystem(raw);
  rmSync(raw);
  const info = JSON.parse(
    (await execa('qemu-img', ['info', '--output=json', disk.qcow2_path])).stdout,
  ) as Record<string, number>;
  return {
    disk_key: disk.disk_key,
    qcow2_path: disk.qcow2_path,
    capacity_bytes: disk.capacity_bytes,
    stored_bytes: info['actual-size'] ?? 0,
    identical: compared.exitCode === 0,
    file_system_clean: clean,
  };
}

/** Ports that the hub has leased to jobs: none after a backup. */
export async function leasedPorts({ url, token }: Pick<Constellation, 'url' | 'token'>): Promise<number> {
  const answer = await fetch(`${url}/api/v1/system`, { headers: { authorization: `Bearer ${token}` } });
  const { ports } = (await answer.json()) as { ports: { leased: unknown[] } };
  return ports.leased.length;
}

/**
 * Processes of the hub and the node on this machine that carry bytes, and go on: none after a backup. Those that end while
 * one looks are not counted, such as the nbdkit that a node asks for its version.
 */
export async function carriersLeft(programs: Programs): Promise<number> {
  let left = carriers(programs);
  for (let looks = 0; looks < LOOKS && left.length > 0; looks++) {
    await delay(LOOK_EVERY_MS);
    const now = new Set(carriers(programs));
    left = left.filter((pid) => now.has(pid));
  }
  return left.length;
}

function carriers(programs: Programs): number[] {
  return [`hub:${programs.path('hub')}`, `node:${programs.path('node')}`]
    .flatMap((owner) => processesOwnedBy(owner))
    .map(({ pid }) => pid)
    .filter(carriesBytes);
}

/** By its command line: the kernel calls an nbdkit that VDDK's plugin has started anew `exe`. */
function carriesBytes(pid: number): boolean {
  try {
    return /^\S*(qemu-nbd|nbdkit)\0|backup-client/.test(readFileSync(`/proc/${pid}/cmdline`, 'utf8'));
  } catch {
    return false; // It has ended.
  }
}
