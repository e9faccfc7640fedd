import type { FakeVm } from '../stage/fake-vm.js';
import type { Random } from './random.js';

const KIB = 1024;
const BLOCK = 64 * KIB;
const SECTOR = 512;

/** Small, because what matters is where blocks end: on their boundary, within one, with a single sector in the last. */
export function randomDiskSize(random: Random): number {
  const blocks = random.between(2, 9);
  return blocks * BLOCK + (random.oneOf([0, 0, SECTOR, 3 * SECTOR, 33 * KIB, BLOCK - SECTOR]) ?? 0);
}

/** Writes of a guest: data and zeros, of any alignment that a disk allows, often where another write ended. */
export function guestWrites(vm: FakeVm, random: Random, most = 4): void {
  let next = 0;
  for (let count = random.between(1, most); count > 0; count--) {
    const disk = random.oneOf(vm.disks);
    if (!disk) return;
    const offset = Math.min(randomOffset(random, disk.sizeBytes, next), disk.sizeBytes - SECTOR);
    const wanted = random.oneOf([SECTOR, 4 * KIB, BLOCK, BLOCK + SECTOR, 3 * BLOCK, 7 * BLOCK]) ?? SECTOR;
    const length = Math.min(wanted, disk.sizeBytes - offset);
    if (random.chance(0.3)) disk.zero(offset, length);
    else disk.fill(offset, length, String(random.seed()));
    next = offset + length;
  }
}

function randomOffset(random: Random, sizeBytes: number, next: number): number {
  const anywhere = Math.floor((random.fraction() * sizeBytes) / SECTOR) * SECTOR;
  const aligned = anywhere - (anywhere % BLOCK);
  const lastBlock = Math.floor((sizeBytes - 1) / BLOCK) * BLOCK;
  return (
    random.oneOf([
      anywhere,
      anywhere,
      aligned,
      aligned + BLOCK - SECTOR,
      lastBlock,
      sizeBytes - SECTOR,
      next,
    ]) ?? 0
  );
}
