import type { RestorePointRecord } from '@sendense/catalog';

/** A point that is to go and cannot, because its data would have to be merged with what is in doubt. */
export interface BlockedRemoval {
  readonly point: RestorePointRecord;
  /** In words, without its own name. */
  readonly reason: string;
}

export interface RemovalOrder {
  /** In this order each can be removed. */
  readonly order: readonly RestorePointRecord[];
  readonly blocked: readonly BlockedRemoval[];
}

/**
 * In which order points are removed at the least cost: first those that nothing which stays is read through, from the
 * newest backwards, so that nothing has to be merged (and what is in doubt can go); then the others from the oldest on, so
 * that each merge is into the next point once.
 *
 * @param all points of a VM in a repository, newest first
 * @param goes whether this one is to go
 */
export function removalOrder(
  all: readonly RestorePointRecord[],
  goes: (point: RestorePointRecord) => boolean,
): RemovalOrder {
  const chain = new Chain(all);
  const order: RestorePointRecord[] = [];
  let left = all.filter(goes);
  for (let before = -1; before !== order.length;) {
    before = order.length;
    for (const point of left) {
      if (chain.childrenOf(point).length > 0) continue;
      chain.remove(point);
      order.push(point);
    }
    const gone = new Set(order);
    left = left.filter((point) => !gone.has(point));
  }
  const blocked: BlockedRemoval[] = [];
  for (const point of left.toReversed()) {
    const doubtful = [point, ...chain.childrenOf(point)].find(({ suspect }) => suspect);
    // Once it was decided it is finished.
    if (!doubtful || point.state === 'removing') {
      chain.remove(point);
      order.push(point);
    } else blocked.push({ point, reason: whyBlocked(point, doubtful) });
  }
  return { order, blocked };
}

function whyBlocked(point: RestorePointRecord, doubtful: RestorePointRecord): string {
  return doubtful.id === point.id
    ? 'it is suspect, and later points are read through it: verify it again'
    : `${doubtful.id}, which stands on it, is suspect: verify that again`;
}

/** Who stands on whom, as it will be after removals. */
class Chain {
  /** By point; per disk the point below. */
  readonly #parents: Map<RestorePointRecord, Map<number, string>>;

  constructor(all: readonly RestorePointRecord[]) {
    this.#parents = new Map(
      all.map((point) => [
        point,
        new Map(
          point.disks.flatMap(({ diskNumber, parentPointId }) =>
            parentPointId === undefined ? [] : [[diskNumber, parentPointId] as const],
          ),
        ),
      ]),
    );
  }

  childrenOf({ id }: RestorePointRecord): RestorePointRecord[] {
    const children: RestorePointRecord[] = [];
    for (const [point, parents] of this.#parents)
      for (const parent of parents.values())
        if (parent === id && children.at(-1) !== point) children.push(point);
    return children;
  }

  remove(point: RestorePointRecord): void {
    const below = this.#parents.get(point);
    this.#parents.delete(point);
    for (const parents of this.#parents.values())
      for (const [disk, parent] of parents) {
        if (parent !== point.id) continue;
        const next = below?.get(disk);
        if (next === undefined) parents.delete(disk);
        else parents.set(disk, next);
      }
  }
}
