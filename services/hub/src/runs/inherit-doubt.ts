import type { Catalog, RestorePointRecord } from '@sendense/catalog';
import { diskChains } from '../chains/structure.js';

/**
 * A new point is as doubtful as what it builds on, which may have failed its verification while the backup ran: whoever
 * marked the points then did not know of this one yet.
 *
 * @returns the point as it is then
 */
export async function inheritDoubt(
  { restorePoints }: Pick<Catalog, 'restorePoints'>,
  point: RestorePointRecord,
): Promise<RestorePointRecord> {
  const chain = await restorePoints.chain(point.id);
  const below = new Set(
    diskChains(point, chain).flatMap(({ images }) => images.slice(1).map(({ pointId }) => pointId)),
  );
  const doubtful = chain.find(({ id, suspect }) => suspect && below.has(id));
  if (!doubtful) return point;
  await restorePoints.markSuspect(
    [point.id],
    `it builds on ${doubtful.id}, which is suspect: ${doubtful.suspectReason ?? 'nobody said why'}`,
  );
  return restorePoints.get(point.id);
}
