import { FakeVm } from '../stage/fake-vm.js';
import { guestWrites, randomDiskSize } from './guest.js';
import { Model, type ModelDisk } from './model.js';
import type { Random } from './random.js';
import type { World } from './world.js';

/** The VM of one sequence, with the model of its restore points. */
export class Subject {
  readonly model = new Model();
  /** By point and disk: the changeId that it was taken with. */
  readonly changeIds = new Map<string, string>();
  /** Whose end was taken into the model. */
  readonly seen = new Set<string>();

  private constructor(
    readonly world: World,
    readonly vm: FakeVm,
    readonly contextId: string,
    readonly repositoryId: string,
  ) {}

  static async create(world: World, name: string, random: Random): Promise<Subject> {
    const sizes = Array.from({ length: random.chance(0.35) ? 2 : 1 }, () => randomDiskSize(random));
    const vm = new FakeVm(
      `vm-${world.node.vms.length + 1}`,
      name,
      sizes.map((sizeBytes, index) => ({ key: 2000 + index, sizeBytes })),
    );
    vm.copiedByEngine = true;
    world.node.vms.push(vm);
    guestWrites(vm, random, 8);
    const { spine } = world.hub;
    return new Subject(world, vm, await spine.protect(vm), (await spine.repository()).id);
  }

  /** What a backup that is started now would have to be. */
  expect(type: 'full' | 'incremental'): ModelDisk[] {
    return this.vm.disks.map((disk) => {
      const { key, backingUuid, sizeBytes } = disk;
      const planned = type === 'full' ? undefined : this.model.parentFor(disk);
      const tracked = planned !== undefined && this.#isTracked(planned, key);
      return {
        ...{ key, backingUuid, sizeBytes, content: Buffer.from(disk.content) },
        parent: tracked ? planned : undefined,
      };
    });
  }

  /** The points that a backup of these disks would put in doubt, because change tracking leaves out what has changed. */
  caughtBy(disks: readonly ModelDisk[]): Set<string> {
    const caught = disks.flatMap(({ key, parent }) =>
      parent !== undefined && this.#isLiedTo(parent, key) ? this.model.through(parent, key) : [],
    );
    return new Set(caught.map(({ id }) => id));
  }

  changeIdOf(pointId: string, key: number): string {
    return this.changeIds.get(`${pointId} ${key}`) ?? '';
  }

  #isTracked(parent: string, key: number): boolean {
    const { vm } = this;
    return !vm.fullReasons.has(key) && vm.disk(key).knows(this.changeIdOf(parent, key));
  }

  #isLiedTo(parent: string, key: number): boolean {
    const disk = this.vm.disk(key);
    const before = this.model.get(parent).disks.find((one) => one.key === key)?.content;
    const told = new Set(disk.changedSince(this.changeIdOf(parent, key)));
    const BLOCK = 64 << 10;
    for (let block = 0; block * BLOCK < disk.sizeBytes; block++) {
      const [from, to] = [block * BLOCK, (block + 1) * BLOCK];
      if (!told.has(block) && !before?.subarray(from, to).equals(disk.content.subarray(from, to)))
        return true;
    }
    return false;
  }
}
