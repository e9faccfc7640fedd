import { FakeDisk } from '../stage/fake-vm.js';
import { guestWrites, randomDiskSize } from './guest.js';
import type { Random } from './random.js';
import type { Subject } from './subject.js';

const SECTOR = 512;
const MOST_DISKS = 3;

export function growDisk({ vm }: Subject, random: Random): void {
  random.oneOf(vm.disks)?.grow(SECTOR * (random.oneOf([1, 64, 128, 129]) ?? 1));
}

/** At the place of one that was removed, when there is one: it is another disk all the same. */
export function addDisk({ vm }: Subject, random: Random): void {
  if (vm.disks.length >= MOST_DISKS) return;
  const keys = Array.from({ length: MOST_DISKS }, (_, index) => 2000 + index);
  const key = random.oneOf(keys.filter((one) => vm.disks.every((disk) => disk.key !== one)));
  const disk = new FakeDisk({ key: key ?? 2000, sizeBytes: randomDiskSize(random) });
  vm.disks.push(disk);
  guestWrites(vm, random);
}

export function removeDisk({ vm }: Subject, random: Random): void {
  if (vm.disks.length < 2) return;
  const [removed] = vm.disks.splice(random.between(0, vm.disks.length - 1), 1);
  vm.fullReasons.delete(removed!.key);
}

/** All disks that a point has go back to what they were then. */
export function revert({ vm, model }: Subject, random: Random): void {
  const point = random.oneOf(model.points);
  for (const disk of vm.disks) {
    const before = point?.disks.find(({ backingUuid }) => backingUuid === disk.backingUuid);
    if (before?.sizeBytes === disk.sizeBytes) disk.revert(before.content);
  }
}

/** A change that it never tells of. */
export function lie({ vm }: Subject, random: Random): void {
  const disk = random.oneOf(vm.disks);
  if (!disk) return;
  const offset = SECTOR * random.between(0, disk.sizeBytes / SECTOR - 1);
  disk.fillUntold(offset, SECTOR, String(random.seed()));
}

/** vCenter has lost what changed: the node reads the disk in full, whatever was planned. */
export function forget({ vm }: Subject, random: Random): void {
  const disk = random.oneOf(vm.disks);
  const reason = random.oneOf(['change_id_stale', 'changed_areas_invalid', 'change_tracking_off']);
  if (disk && reason !== undefined) vm.fullReasons.set(disk.key, reason);
}
