// Along the chains of one VM in one repository. A point's disks may have different parents: one of them was read in full.

/** A disk of a point, and the point that it builds on. */
export interface ChainLink {
  readonly restorePointId: string;
  /** null with a disk that was read in full. */
  readonly parentPointId: string | null;
}

/** The point, and all that any of its disks builds on. */
export function ancestry(links: readonly ChainLink[], id: string): Set<string> {
  return reachable(id, links, 'restorePointId', 'parentPointId');
}

/** All that builds on the point with any disk, at any distance; without the point itself. */
export function offspring(links: readonly ChainLink[], id: string): Set<string> {
  const found = reachable(id, links, 'parentPointId', 'restorePointId');
  found.delete(id);
  return found;
}

function reachable(
  start: string,
  links: readonly ChainLink[],
  from: keyof ChainLink,
  to: keyof ChainLink,
): Set<string> {
  const linksFrom = Map.groupBy(links, (link) => link[from]);
  const seen = new Set<string>();
  const waiting = [start];
  for (let id = waiting.pop(); id !== undefined; id = waiting.pop()) {
    if (seen.has(id)) continue;
    seen.add(id);
    waiting.push(...(linksFrom.get(id) ?? []).flatMap((link) => link[to] ?? []));
  }
  return seen;
}
