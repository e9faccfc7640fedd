import type { RestorePointRecord } from './restore-point-records.js';

// Along the chains of one VM in one repository. A point's disks may have different parents: one of them was read in full.

/** The point and everything that any of its disks builds on, in the order of `points`; empty when it is not among them. */
export function ancestry(points: readonly RestorePointRecord[], id: string): RestorePointRecord[] {
  const byId = new Map(points.map((point) => [point.id, point]));
  return reachable(points, id, (from) =>
    (byId.get(from)?.disks ?? []).flatMap(({ parentPointId }) => parentPointId ?? []),
  );
}

/** Everything that builds on the point with any disk, at any distance, in the order of `points`; without the point itself. */
export function offspring(points: readonly RestorePointRecord[], id: string): RestorePointRecord[] {
  const children = new Map<string, string[]>();
  for (const point of points)
    for (const { parentPointId } of point.disks)
      if (parentPointId !== undefined)
        children.set(parentPointId, [...(children.get(parentPointId) ?? []), point.id]);
  return reachable(points, id, (from) => children.get(from) ?? []).filter((point) => point.id !== id);
}

function reachable(
  points: readonly RestorePointRecord[],
  start: string,
  next: (id: string) => readonly string[],
): RestorePointRecord[] {
  const seen = new Set<string>();
  const waiting = [start];
  for (let id = waiting.pop(); id !== undefined; id = waiting.pop()) {
    if (seen.has(id)) continue;
    seen.add(id);
    waiting.push(...next(id));
  }
  return points.filter((point) => seen.has(point.id));
}
