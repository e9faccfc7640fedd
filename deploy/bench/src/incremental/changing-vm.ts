import type { Lab, LabVm } from '@sendense/lab';
import { BLOCK_BYTES, type Sizes } from './sizes.js';

const MIB = 1 << 20;
const BLOCKS_PER_MIB = MIB / BLOCK_BYTES;

/** A VM with one thin disk, whose data lies in pieces of 1 MiB at equal distances, and a guest that overwrites blocks of it. */
export class ChangingVm {
  /** Blocks written since the beginning. */
  #written = 0;

  private constructor(
    private readonly lab: Lab,
    private readonly vm: LabVm,
    private readonly sizes: Sizes,
  ) {}

  static async create(lab: Lab, name: string, sizes: Sizes): Promise<ChangingVm> {
    const vm = await lab.createVm({
      name,
      changeTrackingEnabled: true,
      disks: [{ sizeBytes: sizes.diskMib * MIB }],
    });
    const changing = new ChangingVm(lab, vm, sizes);
    for (let block = 0; block < changing.#blocks; block += BLOCKS_PER_MIB)
      await changing.#write(block, `first ${block}`, MIB);
    return changing;
  }

  /**
   * Writes whole blocks of incompressible data, far from each other: they go round through the data in steps of the golden
   * ratio, so that no two of a round are neighbours and no block comes twice before all others came.
   */
  async change(blocks: number): Promise<void> {
    const step = coprimeStep(this.#blocks);
    for (const end = this.#written + blocks; this.#written < end; this.#written++)
      await this.#write((this.#written * step) % this.#blocks, `change ${this.#written}`, BLOCK_BYTES);
  }

  get #blocks(): number {
    return this.sizes.dataMib * BLOCKS_PER_MIB;
  }

  /** @param block a number among the blocks with data */
  async #write(block: number, seed: string, length: number): Promise<void> {
    const { diskMib, dataMib } = this.sizes;
    const piece = Math.floor(block / BLOCKS_PER_MIB);
    const distance = Math.floor(diskMib / dataMib) * MIB;
    const offset = piece * distance + (block % BLOCKS_PER_MIB) * BLOCK_BYTES;
    const [disk] = this.vm.disks;
    if (disk) await this.lab.guestWrite(this.vm.moref, disk.key, { offset, random: seed, length });
  }
}

/** About 0.618 × count, without a common divisor. */
function coprimeStep(count: number): number {
  let step = Math.round(count * 0.618);
  while (commonDivisor(step, count) !== 1) step++;
  return step;
}

function commonDivisor(a: number, b: number): number {
  return b === 0 ? a : commonDivisor(b, a % b);
}
