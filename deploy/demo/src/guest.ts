import type { Programs } from '@sendense/stage';

/** Of each write: one MiB. */
export const WRITE_BYTES = 1 << 20;

export interface SnapshotList {
  readonly snapshots: readonly unknown[];
  readonly history: { readonly created: number; readonly removed: number };
}

/** A command of the simulated vCenter. @returns its stdout */
export function inLab(programs: Programs, ...args: string[]): Promise<string> {
  return programs.run('sendense-lab', args, { LAB_DIR: programs.path('lab') });
}

export async function snapshotList(programs: Programs, vm: string): Promise<SnapshotList> {
  return JSON.parse(await inLab(programs, 'snapshot', 'list', vm, '--json')) as SnapshotList;
}

/** What the guest does to its disk: one MiB of new data, or of zeros. */
export async function guestWrites(
  programs: Programs,
  vm: string,
  write: { readonly diskKey: number; readonly offset: number; readonly seed: string | undefined },
): Promise<void> {
  const content = write.seed === undefined ? ['--zeros'] : ['--random', write.seed];
  const where = ['--disk', String(write.diskKey), '--offset', String(write.offset)];
  await inLab(programs, 'guest', 'write', vm, ...where, ...content, '--length', String(WRITE_BYTES));
}
