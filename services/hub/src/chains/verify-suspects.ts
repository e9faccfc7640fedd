import type { RestorePointRecord } from '@sendense/catalog';

/** The image of one disk of one point. */
export interface PointDisk {
  readonly pointId: string;
  readonly diskNumber: number;
}

/**
 * The points that are read through a damaged image: its own, and every later one whose chain of that disk goes through it.
 *
 * @param points all points of the VM in the repository
 */
export function pointsThrough(
  points: readonly RestorePointRecord[],
  damaged: readonly PointDisk[],
): RestorePointRecord[] {
  const reached = new Set(damaged.map(keyOf));
  for (let before = -1; before !== reached.size;) {
    before = reached.size;
    for (const { id, disks } of points)
      for (const { diskNumber, parentPointId } of disks)
        if (parentPointId !== undefined && reached.has(keyOf({ pointId: parentPointId, diskNumber })))
          reached.add(keyOf({ pointId: id, diskNumber }));
  }
  return points.filter(({ id, disks }) =>
    disks.some(({ diskNumber }) => reached.has(keyOf({ pointId: id, diskNumber }))),
  );
}

function keyOf({ pointId, diskNumber }: PointDisk): string {
  return `${diskNumber} ${pointId}`;
}
