import type { GuestWrite, Lab, LabVm } from '@sendense/lab';
import type { WorkloadName } from './options.js';

const MIB = 1 << 20;
const TIB = 2 ** 40;

/** What is backed up. Sizes are of one disk. */
export interface Workload {
  readonly name: WorkloadName;
  readonly title: string;
  readonly disks: number;
  readonly diskMib: number;
  /** In use by the guest, zeros included: what a backup reads. */
  readonly usedMib: number;
  /** What is not zero: what a backup writes. */
  readonly dataMib: number;
}

export function describeWorkload(name: WorkloadName, sizeMib: number): Workload {
  const one = { name, disks: 1, diskMib: sizeMib, usedMib: sizeMib, dataMib: sizeMib };
  switch (name) {
    case 'dense':
      return { ...one, title: 'dense' };
    case 'half_zero':
      return { ...one, title: 'half zeros', dataMib: Math.ceil(sizeMib / 2) };
    case 'sparse':
      return {
        ...one,
        title: 'sparse, 1/16 used',
        diskMib: sizeMib * 8,
        usedMib: sizeMib / 2,
        dataMib: sizeMib / 2,
      };
    case 'two_disks':
      return { ...one, title: '2 dense disks at once', disks: 2 };
    default:
      return { ...one, title: '1 TiB thin disk', diskMib: TIB / MIB };
  }
}

/** Makes its VM: change tracking on, and disks filled by the guest. */
export async function createWorkloadVm(lab: Lab, workload: Workload, vmName: string): Promise<LabVm> {
  const disk = { sizeBytes: workload.diskMib * MIB };
  const vm = await lab.createVm({
    name: vmName,
    changeTrackingEnabled: true,
    disks: Array.from({ length: workload.disks }, () => disk),
  });
  for (const { key } of vm.disks) {
    for (const write of guestWrites(workload, `${vmName} ${key}`)) await lab.guestWrite(vm.moref, key, write);
  }
  return vm;
}

/** Random data does not compress, as most of what fills real disks. */
function* guestWrites(workload: Workload, seed: string): Generator<GuestWrite> {
  const { name, diskMib, usedMib } = workload;
  if (name === 'dense' || name === 'two_disks') {
    yield { offset: 0, random: seed, length: usedMib * MIB };
    return;
  }
  const distance = Math.floor(diskMib / usedMib) * MIB;
  for (let index = 0; index < usedMib; index++) {
    const offset = index * distance;
    if (name === 'half_zero' && index % 2 === 1) yield { offset, data: Buffer.alloc(MIB) };
    else yield { offset, random: `${seed} ${index}`, length: MIB };
  }
}
