/** How much the catalogue holds that is measured. */
export interface CatalogueSizes {
  readonly vms: number;
  /** Of each VM, one a day. */
  readonly pointsPerVm: number;
  /** How often each request is made and counted. */
  readonly requests: number;
}

/** MiB: one database at a time, with what it writes while it is filled. */
export function spaceForCatalogue(quick: boolean): number {
  return quick ? 512 : 8192;
}

export function catalogueSizes(quick: boolean): CatalogueSizes {
  return quick
    ? { vms: 200, pointsPerVm: 20, requests: 5 }
    : { vms: 10_000, pointsPerVm: 100, requests: 200 };
}
