/** A disk of a VM, as a model point keeps it. */
export interface SourceDisk {
  readonly key: number;
  readonly backingUuid: string;
  readonly sizeBytes: number;
}

export interface ModelDisk extends SourceDisk {
  /** What the disk was when the snapshot was taken: the restore point must show this for ever. */
  readonly content: Buffer;
  /** The point whose image of this disk it stands on; undefined for a full. */
  parent: string | undefined;
}

export interface ModelPoint {
  readonly id: string;
  readonly disks: readonly ModelDisk[];
  suspect: boolean;
  held: boolean;
}

export type Refusal = 'restore_point_held' | 'restore_point_suspect';

/** What the restore points of one VM must be: the rules of chains in as few words as possible, without any file. */
export class Model {
  /** What a policy that keeps the newest so many lets go, oldest first. */
  points: ModelPoint[] = [];

  get newest(): ModelPoint | undefined {
    return this.points.at(-1);
  }

  get(id: string): ModelPoint {
    const point = this.points.find((one) => one.id === id);
    if (!point) throw new Error(`the model has no point ${id}`);
    return point;
  }

  /** The point that an incremental of the disk stands on; undefined when it must be a full. */
  parentFor({ key, backingUuid, sizeBytes }: SourceDisk): string | undefined {
    const { newest } = this;
    const before = newest?.disks.find((disk) => disk.key === key);
    if (!newest || before?.backingUuid !== backingUuid || before.sizeBytes !== sizeBytes) return undefined;
    return this.chain(newest.id, key).some(({ suspect }) => suspect) ? undefined : newest.id;
  }

  /** The points that a disk is read from, its own first. */
  chain(id: string, key: number): ModelPoint[] {
    const point = this.get(id);
    const parent = point.disks.find((disk) => disk.key === key)?.parent;
    return [point, ...(parent === undefined ? [] : this.chain(parent, key))];
  }

  children(id: string): ModelPoint[] {
    return this.points.filter(({ disks }) => disks.some(({ parent }) => parent === id));
  }

  /** The points that are read through an image: its own, and all that stand on it. */
  through(id: string, key: number): ModelPoint[] {
    return this.points.filter(
      (point) =>
        point.disks.some((disk) => disk.key === key) &&
        this.chain(point.id, key).some((below) => below.id === id),
    );
  }

  refusal(id: string): Refusal | undefined {
    const point = this.get(id);
    const children = this.children(id);
    // What is in doubt is not merged.
    if (children.length > 0 && [point, ...children].some(({ suspect }) => suspect))
      return 'restore_point_suspect';
    return point.held ? 'restore_point_held' : undefined;
  }

  /** Those on it take its place on what it stood on. */
  remove(id: string): void {
    const removed = this.get(id);
    for (const { disks } of this.children(id))
      for (const disk of disks)
        if (disk.parent === id) disk.parent = removed.disks.find(({ key }) => key === disk.key)?.parent;
    this.points = this.points.filter((point) => point !== removed);
  }

  /**
   * Removes what a policy that keeps the newest so many lets go: from the newest backwards what nothing is read through,
   * then the rest from the oldest on, as far as it may be merged.
   */
  prune(keepLast: number): { readonly removed: string[]; readonly failed: string[] } {
    const removed: string[] = [];
    let left = this.toPrune(keepLast);
    const take = (point: ModelPoint) => {
      this.remove(point.id);
      removed.push(point.id);
      left = left.filter((other) => other !== point);
    };
    const newestLeaf = () => left.findLast(({ id }) => this.children(id).length === 0);
    for (let leaf = newestLeaf(); leaf; leaf = newestLeaf()) take(leaf);
    for (const point of left) if (this.refusal(point.id) === undefined) take(point);
    return { removed, failed: left.map(({ id }) => id) };
  }

  /** What a policy that keeps the newest so many lets go, oldest first. */
  toPrune(keepLast: number): ModelPoint[] {
    const newestGood = this.points.findLast(({ suspect }) => !suspect) ?? this.newest;
    const good = this.points.filter(({ suspect }) => !suspect).slice(-keepLast);
    // A suspect point stays while a good one in its place would.
    const oldestKept = good.length < keepLast ? -1 : this.points.indexOf(good[0]!);
    return this.points.filter((point, index) => !point.held && point !== newestGood && index < oldestKept);
  }
}
