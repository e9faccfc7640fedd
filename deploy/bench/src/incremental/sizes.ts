const MIB = 1 << 20;

/** What changed block tracking, the hashes and the images count in. */
export const BLOCK_BYTES = 64 << 10;

/** How large everything about incrementals is. */
export interface Sizes {
  readonly diskMib: number;
  /** Of the guest, spread over the disk: as many blocks may change. */
  readonly dataMib: number;
  /** One of a hundred blocks of the disk. */
  readonly changedBlocks: number;
  /** Of the chain that is restored, besides the full. */
  readonly increments: number;
  /** Of those that only make the chain long. */
  readonly blocksPerIncrement: number;
  /** Of the disk whose changes are only planned. */
  readonly plannedExtents: number;
}

/** @param sizeMib of a dense disk: 1024 makes a thin disk of 20 GiB that holds 2 */
export function sizesFor(sizeMib: number, quick: boolean): Sizes {
  const diskMib = 20 * sizeMib;
  const changedBlocks = Math.round((diskMib * MIB) / BLOCK_BYTES / 100);
  return {
    diskMib,
    dataMib: 2 * sizeMib,
    changedBlocks,
    increments: quick ? 4 : 60,
    blocksPerIncrement: Math.ceil(changedBlocks / 10),
    // Two pages of an answer at least.
    plannedExtents: quick ? 2500 : 50_000,
  };
}

/** MiB: the disk, the chain, a full beside it, and what is restored from one of them. */
export function spaceForIncrementals(sizes: Sizes, countedIncrements: number): number {
  const { dataMib, changedBlocks, blocksPerIncrement, increments } = sizes;
  const incrementBlocks = changedBlocks * countedIncrements + blocksPerIncrement * increments;
  return 4 * dataMib + (incrementBlocks * BLOCK_BYTES) / MIB;
}
